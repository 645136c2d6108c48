"""How fast the theory lab is: simulated steps against a plain JAX scan, and the predictions.

    python benchmarks/plrf.py [--dimension 1000] [--hidden 2000] [--steps 2000] [--rounds 9]

Simulation: SGD and DANA-decaying, one run each, batches of one sample, the risk recorded at 60
steps. The JAX side, written for this comparison, is what one writes first: `lax.scan` over steps
that draw the hidden inputs, project them and take the update, all in one compiled function; and,
to tell the language from the method, the same scan over our sampler. Candidates take turns in
every round, so that a busy machine slows them all alike; compilation is not counted. Ours is in
float64, JAX in both precisions. Without jax (`pip install 'adana[jax]'`) only ours is timed.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from adana.plrf.blocks import integrate
from adana.plrf.direct import simulate_direct
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.momentum import Momentum, dana_decaying, default_step, sgd, spectral_kappa
from adana.plrf.problem import PLRF, DrawnProblem
from adana.plrf.recursion import exact_moments
from adana.plrf.simulation import simulate

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    jax = None

ALPHA, BETA = 1.0, 0.3
RECORDED = 60
REFERENCE = "JAX scan, float32"
Run = Callable[[], Any]


def ours(problem: DrawnProblem, method: Momentum, steps: int) -> dict[str, Run]:
    arguments = {"batch": 1, "total_steps": steps}
    recorded = np.linspace(0, steps, RECORDED).astype(int)
    return {
        "simulate": lambda: simulate(problem, [method], steps=recorded, **arguments),
        "simulate_direct": lambda: simulate_direct(problem, [method], steps=recorded, **arguments),
    }


def jax_plain(problem: DrawnProblem, columns: np.ndarray, dtype: Any) -> Run:
    """Return the compiled scan over batches of hidden inputs."""
    features = jnp.asarray(problem.features, dtype)
    targets = jnp.asarray(problem.targets, dtype)
    numbers = jnp.asarray(columns, dtype)

    def step(carry: Any, now: Any) -> Any:
        theta, buffer, key = carry
        gamma1, gamma2, gamma3, keep = now
        key, sub = jax.random.split(key)
        z = jax.random.normal(sub, (1, features.shape[0]), dtype)
        x, y = z @ features, z @ targets
        gradient = x.T @ (x @ theta - y)
        buffer = keep * buffer + gamma1 * gradient
        return (theta - gamma2 * gradient - gamma3 * buffer, buffer, key), None

    def record(carry: Any, block: Any) -> Any:
        residual = features @ carry[0] - targets
        return jax.lax.scan(step, carry, block)[0], residual @ residual / 2

    @jax.jit
    def run(key: Any) -> Any:
        zero = jnp.zeros(features.shape[1], dtype)
        return jax.lax.scan(record, (zero, zero, key), numbers)[1]

    return lambda: run(jax.random.key(0)).block_until_ready()


def jax_sampler(problem: DrawnProblem, columns: np.ndarray, dtype: Any) -> Run:
    """Return the compiled scan over gradients drawn in the eigenbasis, for batches of one."""
    eigenvalues = jnp.asarray(problem.eigenvalues, dtype)
    start = jnp.asarray(np.sqrt(problem.eigenvalues) * problem.start, dtype)
    numbers = jnp.asarray(columns, dtype)
    floor = problem.twice_floor

    def step(carry: Any, now: Any) -> Any:
        scaled, buffer, key = carry
        gamma1, gamma2, gamma3, keep = now
        key, first, second = jax.random.split(key, 3)
        normal = jax.random.normal(first, scaled.shape, dtype)
        chi = jnp.abs(jax.random.normal(second, (), dtype))
        root = jnp.sqrt(scaled @ scaled + floor)
        along = chi * chi - chi * (scaled @ normal) / (root + math.sqrt(floor))
        gradient = eigenvalues * (along * scaled + chi * root * normal)
        buffer = keep * buffer + gamma1 * gradient
        return (scaled - gamma2 * gradient - gamma3 * buffer, buffer, key), None

    def record(carry: Any, block: Any) -> Any:
        return jax.lax.scan(step, carry, block)[0], (carry[0] @ carry[0] + floor) / 2

    @jax.jit
    def run(key: Any) -> Any:
        return jax.lax.scan(record, (start, jnp.zeros_like(start), key), numbers)[1]

    return lambda: run(jax.random.key(0)).block_until_ready()


def jax_side(problem: DrawnProblem, method: Momentum, steps: int) -> dict[str, Run]:
    if jax is None:
        print("jax is not installed: only ours is timed (pip install 'adana[jax]')")
        return {}
    jax.config.update("jax_enable_x64", True)
    at = method.at(np.arange(steps))
    columns = np.stack([at.gamma1, at.gamma2, at.gamma3, 1 - at.forget], axis=1)
    columns = columns.reshape(RECORDED, -1, 4)
    return {
        REFERENCE: jax_plain(problem, columns, jnp.float32),
        "JAX scan, float64": jax_plain(problem, columns, jnp.float64),
        "JAX scan of our sampler, float32": jax_sampler(problem, columns, jnp.float32),
        "JAX scan of our sampler, float64": jax_sampler(problem, columns, jnp.float64),
    }


def interleaved(candidates: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for round_ in range(rounds + 1):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if round_ > 0:  # the first compiles
                times[name].append(time.perf_counter() - start)
    return times


def report(times: dict[str, list[float]], per: float, unit: str, reference: str) -> None:
    print(f"{'':34}{unit:>10}{'middle half':>18}{'ratio':>8}")
    for name, values in times.items():
        low, middle, high = (q / per for q in statistics.quantiles(values, n=4))
        pairs = zip(values, times[reference], strict=True)
        ratio = statistics.median(value / other for value, other in pairs)
        print(f"{name:34}{middle:10.3g}{low:9.3g}{high:9.3g}{ratio:8.3f}")


def simulations(arguments: argparse.Namespace) -> None:
    problem = PLRF(ALPHA, BETA, arguments.dimension, arguments.hidden).draw()
    step = default_step(problem.spectrum().trace)
    steps = max(1, arguments.steps // RECORDED) * RECORDED
    for method in (sgd(step), dana_decaying(step, spectral_kappa(ALPHA))):
        candidates = {
            **jax_side(problem, method, steps),
            **ours(problem, method, steps),
        }
        times = interleaved(candidates, arguments.rounds)
        print(f"\n{method.name}: d = {arguments.dimension}, v = {arguments.hidden}, B = 1, "
              f"{steps} steps, {arguments.rounds} rounds; seconds for 100 000 steps")  # fmt: skip
        reference = REFERENCE if REFERENCE in times else "simulate"
        report(times, steps / 1e5, "median s", reference)


def predictions(rounds: int) -> None:
    print()
    spectrum = deterministic_spectrum(1.0, 0.7, 100_000)
    method = dana_decaying(0.5 / spectrum.trace, 0.5)
    times = interleaved(
        {
            "nodes, d = 1e6": lambda: deterministic_spectrum(1.0, 0.7, 1_000_000),
            "integrate, 1e8 steps": lambda: integrate(spectrum, method, batch=1, total_steps=10**8),
        },
        rounds,
    )
    report(times, 1.0, "median s", "integrate, 1e8 steps")
    curve = integrate(spectrum, method, batch=1, total_steps=10**5)
    exact = exact_moments(spectrum, method, batch=1, steps=curve.steps)
    error = np.abs(curve.risk / exact.risk - 1).max()
    fine = integrate(spectrum, method, batch=1, total_steps=10**8, block=0.01)
    coarse = integrate(spectrum, method, batch=1, total_steps=10**8)
    common = np.geomspace(1, 1e8, 400)
    drift = max(abs(coarse.at(t) / fine.at(t) - 1) for t in common)
    print(f"integrate: {100 * error:.2f} % from the exact recursion over 1e5 steps, "
          f"{100 * drift:.2f} % from blocks a fifth as long over 1e8")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimension", type=int, default=1000)
    parser.add_argument("--hidden", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=2000, help="steps timed in each round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds must be at least 2: quartiles need several")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.machine()}, "
          f"torch {torch.__version__} with {torch.get_num_threads()} threads")  # fmt: skip
    simulations(arguments)
    predictions(arguments.rounds)


if __name__ == "__main__":
    main()
