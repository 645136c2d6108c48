"""The spectrum of a large problem without drawing its matrix: the deterministic equivalent.

A few hundred cells cover the eigenvalues from the largest, each in a cell of its own, to the
smallest. Two functions of z with poles at the eigenvalues,

    sum_k [1/(lambda_k - z) + 1/z] = (s/z) sum_j D_j / (1 + D_j s)
    sum_k lambda_k rho_k/(lambda_k - z) = ((s-tau)/z) sum_j bc_j^2 D_j / ((1 + D_j tau)(1 + D_j s)),

are integrated over an arc above each cell; their imaginary parts over pi are the cell's number of
eigenvalues, their sum, and the risk they hold (spec/plrf.md sections 5.1 and 5.2). The arcs are
drawn in the plane of the resolvent s, where z is explicit, instead of the plane of z. Both
functions are free of the pole at 0 that would swamp the small cells.
"""

from __future__ import annotations

import numpy as np

from adana.plrf.atoms import PANEL_RATIO, power_law_atoms
from adana.plrf.problem import check_exponents, hidden_inputs
from adana.plrf.resolvent import Resolvent
from adana.plrf.spectrum import Spectrum

SINGLE = 80
"""At most so many of the largest eigenvalues get a cell of their own."""

ARC_POINTS = 16
"""Gauss points on an arc."""

LAST_CELLS = (0.2, 0.1, 0.05, 0.025, 0.01)
"""Cells narrow towards the smallest eigenvalue: distances of their radii from its, relative."""

CHUNK = 32
"""Cells integrated together: their arrays stay in the processor's cache."""


def resolvent(alpha: float, beta: float, dimension: int, hidden: int | None = None) -> Resolvent:
    """Return the fixed point of a problem with arguments as of `adana.plrf.problem.PLRF`.

    Raises `ValueError` as `PLRF` does, and for an alpha above `largest_alpha`.
    """
    check_exponents(alpha, beta)
    inputs = hidden_inputs(dimension, hidden)
    limit = largest_alpha(inputs)
    if alpha > limit:
        raise ValueError(
            f"alpha must be at most {limit:.3g} with {inputs:,} hidden inputs, got {alpha:g}: "
            "features fall off too fast for float64; take a smaller alpha or dimension"
        )
    return Resolvent(power_law_atoms(alpha, beta, inputs), dimension)


def largest_alpha(hidden: int) -> float:
    """Return the alpha up to which the deterministic equivalent of so many inputs is computed.

    Beyond 10 the cells are too wide for such a fall; and powers of the variances, which span
    `hidden^(2 alpha)`, must fit into float64.
    """
    return min(10.0, 50 / np.log10(max(hidden, 2)))


def deterministic_spectrum(
    alpha: float, beta: float, dimension: int, hidden: int | None = None
) -> Spectrum:
    """Return the expected spectrum of `PLRF(alpha, beta, dimension, hidden)` for large d.

    About 100 weighted eigenvalues at d = 400 and 270 at 1e6, largest first. `counts` sum to d,
    `counts @ eigenvalues` to the trace and `start` is the risk of `theta = 0`, each to about
    3e-5 up to alpha = 5, and to 1e-3 at 10 from d = 100 on. Raises `ValueError` as `PLRF` and
    `resolvent` do. Source: spec/plrf.md section 5.2.
    """
    fixed_point = resolvent(alpha, beta, dimension, hidden)
    edges = fixed_point.curve(_radii(fixed_point, alpha))
    cells = np.concatenate(
        [
            _integrate(fixed_point, edges[i : i + CHUNK + 1])
            for i in range(0, edges.size - 1, CHUNK)
        ],
        axis=1,
    )
    counts, sums, risks = cells[:, cells[0] > 1e-9]
    return Spectrum(sums / counts, risks / sums, counts, fixed_point.twice_floor)


def _radii(fixed_point: Resolvent, alpha: float) -> np.ndarray:
    """Return the radii |s| between cells, from before the largest eigenvalue to the smallest.

    A border at index j between hidden inputs is the radius j^(2 alpha). Those before the first
    eigenvalues lie in gaps; beyond the last hidden input the ladder goes on by the same ratio.
    """
    last = fixed_point.last_radius
    borders = fixed_point.atoms.borders[1:]
    single = borders[:SINGLE] ** (2 * alpha)
    gaps = np.cumprod(fixed_point.load(single, np.zeros_like(single)) < 1).sum()
    indices = list(borders[:gaps])
    index = indices[-1] if indices else fixed_point.first_radius ** (1 / (2 * alpha))
    later = borders[gaps:]
    while index ** (2 * alpha) < last:
        ahead = later[later >= index * np.sqrt(PANEL_RATIO)]
        index = ahead[0] if ahead.size and indices else index * PANEL_RATIO
        indices.append(index)
    radii = np.array(indices) ** (2 * alpha)
    first = fixed_point.first_radius * (0.7 if gaps else 1.0)
    ends = last * (1 - np.array(LAST_CELLS))
    inner = radii[radii < ends[0]]
    return np.concatenate([[first], inner, ends[ends > first], [last]])


def _integrate(fixed_point: Resolvent, edges: np.ndarray) -> np.ndarray:
    """Return counts, sums of eigenvalues and risks (2P) of the cells between edges log s.

    The arcs are half circles in the plane of log s, on the side of the upper half plane of z.
    """
    atoms, d, tau = fixed_point.atoms, fixed_point.dimension, fixed_point.at_zero
    points, weights = np.polynomial.legendre.leggauss(ARC_POINTS)
    turn = np.exp(-0.5j * np.pi * (1 - points))
    radius = (edges[1:] - edges[:-1])[:, None] / 2
    s = np.exp((edges[1:] + edges[:-1])[:, None] / 2 + radius * turn)

    shrink = 1 / (1 + s[..., None] * atoms.scales)
    mass = shrink @ (atoms.counts * atoms.scales)
    z = mass / d - 1 / s
    slope = 1 / s**2 - shrink**2 @ (atoms.counts * atoms.scales**2) / d
    step = slope * s * (0.5j * np.pi) * radius * turn * weights

    counted = s / z * mass
    held = (s - tau) / z * (shrink @ (atoms.targets * atoms.scales / (1 + atoms.scales * tau)))
    return -np.sum(np.stack([counted, z * counted, held]) * step, axis=2).imag / np.pi
