"""Averages kept in each code are as far from exact ones as is derived: a short simulation.

`benchmarks/state_codes.py` does the same for a million steps; its results: docs/low-precision.md.
"""

import importlib.util
import math
from pathlib import Path

import pytest

from .threads import one_thread

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "state_codes.py"
STEPS, WIDTH = 3000, 192


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("state_codes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(benchmark):
    with one_thread():
        rows = benchmark.simulate(STEPS, width=WIDTH, names=("bf16 to nearest", "bf16_sr", "log16"))
    return {(row.code, row.regime, row.signal): row for row in rows}


@pytest.mark.parametrize("regime", ["constant", "shrinking"])
@pytest.mark.parametrize("code", ["bf16_sr", "log16"])
def test_errors_are_what_is_derived(benchmark, found, code, regime):
    """A spread over n coordinates has a relative error of 1/sqrt(2n): four of them, and 5 %.

    Five signals at once, whose mean has sqrt(5) times less.
    """
    noise = 4 / math.sqrt(2 * WIDTH)
    for column in ("m_error", "v_std"):
        logs = []
        for signal in benchmark.SIGNALS:
            derived = getattr(benchmark.predicted(code, STEPS, regime, signal), column)
            logs.append(math.log(getattr(found[code, regime, signal], column) / derived))
            assert abs(logs[-1]) < noise + 0.1, (column, signal)
        assert abs(sum(logs) / len(logs)) < noise / math.sqrt(5) + 0.05, column


@pytest.mark.parametrize("regime", ["constant", "shrinking"])
@pytest.mark.parametrize("code", ["bf16_sr", "log16"])
def test_v_is_unbiased_when_rounded_at_random(benchmark, found, code, regime):
    """Within four standard errors of the mean over coordinates."""
    for signal in benchmark.SIGNALS:
        row = found[code, regime, signal]
        assert abs(row.v_mean - 1) < 4 * row.v_std / math.sqrt(WIDTH)


def test_rounded_to_nearest_v_is_too_large(found):
    for regime in ("constant", "shrinking"):
        row = found["bf16 to nearest", regime, 0.0]
        assert row.v_mean - 1 > 5 * row.v_std / math.sqrt(WIDTH)


def test_log16_keeps_m_below_its_own_noise(benchmark, found):
    for signal in benchmark.SIGNALS:
        assert found["log16", "constant", signal].m_error < 0.05
