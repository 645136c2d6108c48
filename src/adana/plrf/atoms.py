"""A power law of millions of hidden inputs, held by a few hundred weighted ones.

Sums over hidden inputs j = 1..v of smooth functions are all that the deterministic equivalent
needs. The first 300 inputs are kept; from there on panels of 6 % in j hold two Gauss points each,
so the cost grows with log v alone (spec/plrf.md section 5.2, whose bins these points replace).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXACT = 300
"""Hidden inputs kept one by one."""

PANEL_RATIO = 1.06
"""Last index of a panel over its first; the cells of the spectrum are as wide."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """Weighted hidden inputs, float64 arrays of shape (atoms,), smallest index first.

    `scales` are the variances `D = j^-2alpha`, `counts` how many inputs an atom stands for, and
    `targets` the sums over them of the squared target `bc_j^2 = j^-2(alpha+beta)`. `borders` are
    indices j half-way between neighbouring groups of atoms, from 1/2 to v + 1/2.
    """

    scales: np.ndarray
    targets: np.ndarray
    counts: np.ndarray
    borders: np.ndarray


def power_law_atoms(alpha: float, beta: float, hidden: int) -> Atoms:
    """Return atoms for `hidden` inputs: sums of smooth powers of j agree to 1e-7, relative."""
    if hidden <= EXACT:
        index, counts = np.arange(1.0, hidden + 1), np.ones(hidden)
        borders = np.arange(hidden + 1) + 0.5
    else:
        borders = _borders(hidden)
        index, counts = _points(borders)
    return Atoms(index ** (-2 * alpha), counts * index ** (-2 * (alpha + beta)), counts, borders)


def _borders(hidden: int) -> np.ndarray:
    log_start, log_end = np.log([EXACT + 0.5, hidden + 0.5])
    panels = int(np.ceil((log_end - log_start) / np.log(PANEL_RATIO)))
    return np.concatenate(
        [np.arange(EXACT) + 0.5, np.exp(np.linspace(log_start, log_end, panels + 1))]
    )


def _points(borders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and counts: the first inputs, then Gauss's two points in each panel's log."""
    panels = np.log(borders[EXACT:])
    half = np.diff(panels) / 2
    middle = (panels[1:] + panels[:-1]) / 2
    points = np.exp(np.stack([middle - half / np.sqrt(3), middle + half / np.sqrt(3)], axis=1))
    index = np.concatenate([np.arange(1.0, EXACT + 1), points.ravel()])
    counts = np.concatenate([np.ones(EXACT), (half[:, None] * points).ravel()])
    # A sum over whole j is the integral less a 24th of the slope's increase (Euler and Maclaurin):
    # moving the two atoms at the ends adds just that.
    index[EXACT - 1] += 1 / 24
    index[-1] -= 1 / (24 * counts[-1])
    return index, counts
