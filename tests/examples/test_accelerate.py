"""What docs/integrations.md says about Accelerate."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import adana
from adana.schedules import warmup_cosine

from .conftest import library, load, recorded

library("accelerate")

from accelerate import Accelerator  # noqa: E402
from accelerate.optimizer import AcceleratedOptimizer  # noqa: E402
from accelerate.scheduler import AcceleratedScheduler  # noqa: E402

STEPS = 20

TWO_PROCESSES = """
import json, sys
from pathlib import Path
import torch
from accelerate import PartialState
torch.set_num_threads(1)
from tests.examples.conftest import load, recorded
state = PartialState(cpu=True)
with recorded() as record:
    load("accelerate_loop").main(steps=20)
result = {"processes": state.num_processes, "gammas": record.gammas,
          "sums": [float(p.sum()) for p in record.weights()]}
Path(sys.argv[1]).with_suffix(f".{state.process_index}").write_text(json.dumps(result))
state.wait_for_everyone()  # one that leaves early may abort the other
state.destroy_process_group()
"""


def test_two_processes_follow_the_schedule_of_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    root = Path(__file__).parents[2]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path / "result")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads((tmp_path / f"result.{rank}").read_text()) for rank in (0, 1)]
    assert [result["processes"] for result in results] == [2, 2]
    assert results[0]["sums"] == results[1]["sums"]
    for result in results:
        expected = [warmup_cosine(t, STEPS, 0) for t in range(1, STEPS + 1)]
        assert result["gammas"] == pytest.approx(expected, rel=1e-12)


@pytest.fixture
def wrapped():
    """Model, optimizer and scheduler as prepared, with the loss scaler that a CPU does not get."""
    Accelerator(cpu=True)
    model = torch.nn.Linear(4, 4)
    optimizer = adana.ADana(model.parameters(), lr=1e-2, total_steps=STEPS)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: warmup_cosine(k + 1, STEPS, 5)
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    accelerated = AcceleratedOptimizer(optimizer, scaler=scaler)
    return model, accelerated, AcceleratedScheduler(scheduler, accelerated), scaler


def test_an_overflow_moves_neither_the_counters_nor_the_schedule(wrapped):
    model, optimizer, scheduler, scaler = wrapped
    with recorded() as record:
        for factor in (1.0, float("inf"), 1.0):
            optimizer.zero_grad()
            scaler.scale(model(torch.ones(1, 4)).sum() * factor).backward()
            optimizer.step()
            scheduler.step()
            assert optimizer.step_was_skipped == (factor != 1.0)
    assert record.gammas == [warmup_cosine(1, STEPS, 5), warmup_cosine(2, STEPS, 5)]
    assert {int(state["step"]) for state in record.optimizer.state.values()} == {2}


def test_the_wrapper_hides_the_optimizers_own_methods(wrapped):
    _, optimizer, _, _ = wrapped
    assert not hasattr(optimizer, "gamma")
    (group,) = optimizer.param_groups
    assert optimizer.optimizer.gamma(group) == warmup_cosine(1, STEPS, 5)


def test_loading_keeps_the_float32_moments_of_bfloat16_weights(tmp_path):
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(4, 4, dtype=torch.bfloat16)
    model, optimizer = accelerator.prepare(model, adana.ADana(model.parameters(), lr=1e-2))
    accelerator.backward(model(torch.ones(1, 4, dtype=torch.bfloat16)).sum())
    optimizer.step()
    before = [state["m"].clone() for state in optimizer.state.values()]
    accelerator.save_state(str(tmp_path))
    accelerator.load_state(str(tmp_path))
    after = [state["m"] for state in optimizer.state.values()]
    assert all(m.dtype == torch.float32 for m in after)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_example_runs_with_another_accumulation():
    with recorded() as record:
        losses = load("accelerate_loop").main(steps=STEPS, accumulate=3)
    assert len(losses) == 3 * STEPS
    assert len(record.gammas) == STEPS
