"""Spectra made by hand, for tests of what takes a spectrum."""

import numpy as np

from adana.plrf.spectrum import Spectrum


def power_law(size=32, *, alpha=1.0, beta=0.3, twice_floor=1e-3):
    """Eigenvalues `j^(-2 alpha)`, errors `j^(-2 beta)`, each direction once."""
    j = np.arange(1, size + 1)
    return Spectrum(j ** (-2.0 * alpha), j ** (-2.0 * beta), np.ones(size), twice_floor)


def grouped_power_law(size, *, alpha=1.0, beta=0.3, twice_floor=0.0, groups=100):
    """Return the same with directions of near eigenvalues put together."""
    edges = np.unique(np.round(np.geomspace(1, size + 1, groups)).astype(int))
    one = power_law(size, alpha=alpha, beta=beta)
    counts = np.diff(edges).astype(float)
    trace = np.add.reduceat(one.eigenvalues, edges[:-1] - 1)
    risk = np.add.reduceat(one.eigenvalues * one.errors, edges[:-1] - 1)
    return Spectrum(trace / counts, risk / trace, counts, twice_floor)
