"""Mini-batch gradients of the model drawn exactly, for any batch, without drawing a batch.

Gaussian features make the gradient of B samples depend on the parameters only through a length and
a direction: one chi-square number and d normal ones give a gradient of exactly the right law
(spec/plrf.md section 1.2). It costs O(d) for every B, and the hidden dimension never appears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Random numbers of a simulation: normal ones on its device, all others from numpy.

    Two independent streams of one seed, so that what is drawn of one kind does not change the
    other. On the CPU numpy draws both, at twice torch's speed for float64.
    """

    def __init__(self, seed: int | Sequence[int], device: torch.device | str) -> None:
        normal_seed, other_seed = np.random.SeedSequence(seed).spawn(2)
        self.device = torch.device(device)
        self._normal = np.random.Generator(np.random.SFC64(normal_seed))
        self._other = np.random.Generator(np.random.SFC64(other_seed))
        self._generator = torch.Generator(self.device)
        self._generator.manual_seed(int(normal_seed.generate_state(1, np.uint64)[0] >> 1))

    def normal_(self, out: Tensor) -> Tensor:
        """Fill `out`, a contiguous float64 tensor on the device, with standard normal numbers."""
        if self.device.type == "cpu":
            self._normal.standard_normal(out=out.numpy())
            return out
        return out.normal_(generator=self._generator)

    def chi_square(self, samples: float | np.ndarray, shape: tuple[int, ...]) -> Tensor:
        """Return chi-square numbers with as many degrees of freedom as samples; 0 for none."""
        drawn = 2 * self._other.standard_gamma(np.asarray(samples) / 2, shape)
        return torch.from_numpy(drawn).to(self.device)

    def counts(self, batch: int, probabilities: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return how many of `batch` samples fall to each kind: int64, `shape + (kinds,)`."""
        return self._other.multinomial(batch, probabilities, shape)

    def kinds(self, probabilities: np.ndarray, shape: tuple[int, ...]) -> Tensor:
        """Return numbers of kinds drawn by their probabilities: int64."""
        edges = np.cumsum(probabilities)[:-1]
        drawn = np.searchsorted(edges, self._other.random(shape), side="right")
        return torch.from_numpy(drawn).to(self.device)


def gradient_weights(chi_square: Tensor, batch: float) -> tuple[Tensor, Tensor]:
    """Return `c2 / B` and `sqrt(c2) / B`; 1 and 0 for an infinite batch, whose gradient is exact.

    `chi_square` has one degree of freedom per sample that counts here, `batch` is the number that
    the gradient is divided by: more, where only some of the batch concern these parameters.
    """
    if math.isinf(batch):
        return torch.ones_like(chi_square), torch.zeros_like(chi_square)
    return chi_square / batch, chi_square.sqrt() / batch


def whitened_gradient(
    scaled: Tensor, normal: Tensor, weights: tuple[Tensor, Tensor], floor_root: float
) -> tuple[Tensor, Tensor]:
    """Return a gradient divided by `sqrt(eigenvalues)`, and `twice the risk - 2 P_inf`.

    Args:
        scaled: `sqrt(eigenvalues) * u`, u the distance from the best parameters in the eigenbasis;
            shape (..., d).
        normal: standard normal numbers, shape broadcasting against `scaled`.
        weights: what `gradient_weights` returns, each of a shape broadcasting against (...).
        floor_root: `sqrt(2 P_inf)`.

    Returns:
        The whitened gradient of shape (..., d), and `|scaled|^2` of shape (...).
    """
    mean_weight, noise_weight = weights
    excess = torch.linalg.vecdot(scaled, scaled)
    root = (excess + floor_root**2).sqrt_()
    along = torch.linalg.vecdot(scaled, normal).div_((root + floor_root).clamp_(min=1e-300))
    # Along the error the labels' noise alone is random, across it the error's features as well.
    to_error = torch.addcmul(mean_weight, noise_weight, along, value=-1)
    gradient = normal * (noise_weight * root).unsqueeze(-1)
    return gradient.addcmul_(scaled, to_error.unsqueeze(-1)), excess
