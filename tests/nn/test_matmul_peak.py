import pytest
import torch

from adana.nn import matmul_peak, measure_matmul_peak


def test_the_fastest_of_several_products_counts(monkeypatch):
    # When to stop; start and end of three products, of 4, 1 and 2 seconds; late enough to stop.
    clock = iter([0.0, 0.0, 4.0, 4.0, 5.0, 5.0, 7.0, 7.0])
    monkeypatch.setattr(matmul_peak.time, "perf_counter", lambda: next(clock))
    assert measure_matmul_peak(sizes=[8], seconds=1.0) == 2 * 8**3 / 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_this_machine_multiplies(dtype):
    assert 1e7 < measure_matmul_peak("cpu", dtype, sizes=[128], seconds=0.01) < 1e16


def test_the_fastest_size_counts(monkeypatch):
    speeds = {64: 3.0, 128: 5.0, 256: 4.0}
    monkeypatch.setattr(matmul_peak, "_speed", lambda device, dtype, n, seconds: speeds[n])
    assert measure_matmul_peak(sizes=list(speeds)) == 5.0
