"""How long a joint fit takes: the broken law, 4 optimizers x 15 sizes, 1000 bootstrap draws.

    python benchmarks/laws.py

Prints a Markdown row for docs/evidence/laws.md.
"""

import os
import platform
import time

import numpy as np

from adana.laws import Curve, LossLaw, Observation, fit_loss_laws

SIZES, OPTIMIZERS, DRAWS = 15, 4, 1000
NOISE = 8e-4
"""Relative noise of a final loss: the residuals of the published ladder (spec section 7)."""


def ladder() -> list[Curve]:
    """Return curves of broken laws like the published one, with noise."""
    rng = np.random.default_rng(0)
    computes = np.geomspace(0.01, 30, SIZES)
    curves = []
    for k in range(OPTIMIZERS):
        law = LossLaw(0.5, 1.2, 0.08, 1.3, 0.03 + 0.002 * k)
        losses = law(computes) * np.exp(NOISE * rng.standard_normal(SIZES))
        points = zip(computes, losses, strict=True)
        curves.append(Curve(f"o{k}", tuple(Observation(float(c), (float(x),)) for c, x in points)))
    return curves


def main() -> None:
    """Time the fit in wall-clock and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    fit_loss_laws(ladder(), form="broken", bootstrap=DRAWS)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    load = os.getloadavg()[0]
    print(f"| broken law, {OPTIMIZERS} x {SIZES}, {DRAWS} draws | {wall:.1f} | {processor:.1f} | "
          f"{os.cpu_count()} cores, load {load:.1f}, numpy {np.__version__}, "
          f"{platform.machine()} |")  # fmt: skip


if __name__ == "__main__":
    main()
