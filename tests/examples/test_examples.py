"""Every example trains, follows its schedule, decays what it should, and resumes exactly."""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from adana.schedules import log_time_decay, warmup_cosine
from adana.strength import STRONG

from .conftest import Recording, library, load, recorded

FLOOR = math.log(2)
"""Loss that no model of the made-up language can beat."""


@dataclass(frozen=True)
class Example:
    """How a test runs one of the files in examples/."""

    name: str
    library: str | None
    steps: int
    checkpoint: str
    """What `main` leaves halfway, within its folder."""


TABLE = [
    Example("plain_loop", None, 200, "halfway.pt"),
    Example("huggingface_trainer", "transformers", 200, "checkpoint-100"),
    Example("lightning_module", "lightning", 200, "epoch=1.ckpt"),
    Example("accelerate_loop", "accelerate", 200, "step-100"),
]


def run(example: Example, folder: Path, **arguments) -> tuple[list[float], Recording]:
    folder.mkdir(exist_ok=True)
    with recorded() as record:
        losses = load(example.name).main(folder=folder, **arguments)
    return losses, record


@functools.cache
def whole_run(example: Example, folder: Path) -> tuple[list[float], Recording]:
    return run(example, folder)


@pytest.fixture(params=TABLE, ids=lambda example: example.name)
def example(request):
    if request.param.library is not None:
        library(request.param.library)
    return request.param


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


def test_the_loss_falls_almost_to_what_is_possible(example, folder):
    losses, _ = whole_run(example, folder / example.name)
    assert losses[0] > 2.4
    assert FLOOR - 0.05 < losses[-1] < FLOOR + 0.15


def test_the_schedule_reaches_the_optimizer_at_every_step(example, folder):
    _, record = whole_run(example, folder / example.name)
    warmup = example.steps // 50
    expected = [warmup_cosine(t, example.steps, warmup) for t in range(1, example.steps + 1)]
    assert record.gammas == pytest.approx(expected, rel=1e-12)


def test_the_decay_of_an_example_is_none_to_be_warned_of(example, folder):
    _, record = whole_run(example, folder / example.name)
    assert 0 < record.optimizer.decay(record.optimizer.param_groups[0], 1) <= STRONG


def test_matrices_decay_and_embeddings_gains_and_biases_do_not(example, folder):
    _, record = whole_run(example, folder / example.name)
    decayed, spared = record.optimizer.param_groups
    assert (decayed["omega"], spared["omega"]) == (4.0, 0.0)
    assert decayed["decay_offset"] == example.steps / 10
    assert all(p.ndim == 2 for p in decayed["params"])
    assert all(p.ndim == 1 or p.shape[0] == 32 for p in spared["params"])
    expected = [
        gamma * log_time_decay(t, 4.0, example.steps / 10)
        for t, gamma in enumerate(record.gammas, start=1)
    ]
    assert [decay for decay, _ in record.decays] == pytest.approx(expected, rel=1e-12)
    assert {decay for _, decay in record.decays} == {0.0}


def test_a_resumed_run_ends_with_the_same_bits(example, folder, tmp_path):
    losses, record = whole_run(example, folder / example.name)
    checkpoint = folder / example.name / example.checkpoint
    resumed_losses, resumed = run(example, tmp_path, resume_from=checkpoint)
    half = example.steps // 2
    assert resumed.gammas == record.gammas[half:]
    assert resumed.decays == record.decays[half:]
    assert resumed_losses == losses[-(len(losses) // 2) :], "of the second half, and no others"
    assert {int(state["step"]) for state in resumed.optimizer.state.values()} == {example.steps}
    for one, other in zip(resumed.weights(), record.weights(), strict=True):
        assert torch.equal(one, other)
