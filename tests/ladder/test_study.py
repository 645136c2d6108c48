"""A study: which trainings a preset becomes, and when a grid grows."""

import dataclasses
import itertools
import math

import pytest

from adana.ladder import (
    PRESETS,
    Cell,
    NoLawError,
    Rate,
    Study,
    centre_rate,
    first_rates,
    mean_losses,
    next_rate,
    plan_run,
    training_order,
)
from adana.nn import EnokiConfig, LSTMConfig, Qwen3Config, count_parameters
from adana.runs import write_json
from adana.train import LayoutConfig, config_to_dict

STUDY = Study(optimizers=("adamw", "adana"), sizes=(2, 1), rates=3, widen=2)
CPU = LayoutConfig(device="cpu")
SHAPE = {"vocab_size": 1024, "sequence_length": 128}


def test_every_optimizer_is_trained_at_every_size_smallest_first():
    assert STUDY.cells == [
        Cell("adamw", 1),
        Cell("adana", 1),
        Cell("adamw", 2),
        Cell("adana", 2),
    ]


def test_a_ladder_that_is_stopped_early_has_the_middle_of_every_grid(tmp_path):
    planned = {}
    for cell in STUDY.cells:
        runs = [
            plan_run(STUDY.config(cell, rate, seed, CPU), tmp_path, "abc")
            for rate in first_rates(STUDY, cell)
            for seed in (0, 1)
        ]
        planned[cell] = runs
    order = training_order(planned)
    assert sorted(p.path for p in order) == sorted(p.path for own in planned.values() for p in own)
    places = [(p.config.model.heads, p.config.optimizer.name, p.config.seed) for p in order]
    middle = [("adamw", 0), ("adamw", 1), ("adana", 0), ("adana", 1)]
    assert places[:4] == [(1, *which) for which in middle]
    assert places[12:16] == [(2, *which) for which in middle]
    centre = first_rates(STUDY, Cell("adamw", 1))[1].lr
    assert [p.config.optimizer.lr / centre for p in order[:2]] == [1, 1]
    assert [p.config.optimizer.lr / centre for p in order[4:8:2]] == pytest.approx([0.5, 2])


def test_a_budget_is_tokens_for_each_parameter_of_the_size():
    config = STUDY.config(Cell("adamw", 2), Rate(0.01, "given"), 1, CPU)
    # 1 layer of width 32: 12 * 32^2; embedding and head: 2 * 1024 * 32
    assert config.steps == 20 * (12 * 32**2 + 2 * 1024 * 32) // (16 * 128)
    assert config.seed == 1
    assert config.optimizer.lr == 0.01
    assert config.eval_every == config.steps // 12
    assert config.provenance == {"steps": "floor(20 N / (16 x 128))", "lr": "given"}


@pytest.mark.parametrize("cell", [cell for study in PRESETS.values() for cell in study.cells])
def test_grids_of_all_presets_lie_on_one_lattice(cell):
    rates = [rate.lr for rate in first_rates(PRESETS["laptop"], cell)]
    positions = [math.log2(lr / 1e-3) for lr in rates]
    assert [round(p) for p in positions] == pytest.approx(positions, abs=1e-3)
    assert [b / a for a, b in itertools.pairwise(rates)] == pytest.approx([2.0] * 4)


def test_a_grid_surrounds_the_rate_it_is_given():
    rates = [r.lr for r in first_rates(STUDY, Cell("adamw", 1), Rate(0.0065, "given"))]
    assert rates == [0.004, 0.008, 0.016]


def test_the_rule_carries_the_demo_rate_along_the_published_law():
    small, larger = (centre_rate("adamw", STUDY.model(heads)) for heads in (1, 2))
    p_small, p_larger = 12 * 16**2, 12 * 32**2
    assert small.lr / larger.lr == pytest.approx(((16700 + p_small) / (16700 + p_larger)) ** -0.515)
    assert "0.0106" in small.source


def test_a_training_like_those_behind_a_law_gets_the_rate_of_the_law():
    size = {"sizes": (6,), "head_dim": 64, "vocab_size": 50304}
    study = Study(sequence_length=2048, batch_size=32, **size)
    rate = first_rates(study, Cell("adamw", 6))[2]
    p = 12 * 384**2 * 4
    assert rate.lr / (12.8 * (1.67e4 + p) ** -0.515) == pytest.approx(1, rel=0.42)  # the lattice
    assert "published Enoki law" in rate.source
    assert "demo" not in rate.source
    other = dataclasses.replace(study, tokens_per_param=5.0, schedule="linear")
    reserved = first_rates(other, Cell("adamw", 6))[2].source
    assert "fitted at 20 tokens a parameter, this run has 5" in reserved
    assert "fitted with cosine, this is linear" in reserved
    for other in (Study(**size), dataclasses.replace(study, sizes=(2,))):
        assert (
            "the demo's tuned rate" in first_rates(other, Cell("adamw", other.sizes[0]))[2].source
        )
    qwen3 = dataclasses.replace(study, family="qwen3", head_dim=128)
    assert "published Qwen3 law" in first_rates(qwen3, Cell("adamw", 6))[2].source
    narrow = dataclasses.replace(qwen3, head_dim=16)
    assert "demo.md; an Enoki" in first_rates(narrow, Cell("adamw", 6))[2].source


def test_an_optimizer_without_any_rule_asks_for_the_middle_of_its_grid():
    with pytest.raises(NoLawError, match=r"--lr log-muon=VALUE"):
        first_rates(Study(optimizers=("log-muon",)), Cell("log-muon", 1))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0.004: 3.2, 0.008: 3.0, 0.016: 3.1}, None),
        ({0.004: 3.2, 0.008: 3.1, 0.016: 3.0}, 0.032),
        ({0.004: 3.0, 0.008: 3.1, 0.016: 3.2}, 0.002),
        ({0.004: 3.0, 0.008: math.inf, 0.016: math.inf}, 0.002),
        ({0.004: 3.1, 0.008: 3.0, 0.016: math.inf}, None),
        ({0.004: math.inf, 0.008: math.inf, 0.016: math.inf}, 0.002),
        ({0.001: 1.0, 0.002: 2.0, 0.004: 3.0, 0.008: 4.0, 0.016: 5.0}, None),
        ({0.004: 3.0}, None),
    ],
)
def test_a_grid_grows_at_the_end_where_its_best_is(losses, expected):
    rate = next_rate(STUDY, losses)
    assert (rate and rate.lr) == expected


def test_a_diverged_seed_makes_its_rate_infinitely_bad(tmp_path):
    planned = [
        plan_run(STUDY.config(Cell("adamw", 1), Rate(lr, "given"), seed, CPU), tmp_path, "abc")
        for lr in (0.004, 0.008)
        for seed in (0, 1)
    ]
    for p, loss in zip(planned, (3.0, 3.2, 2.9, None), strict=True):
        p.path.mkdir()
        write_json(p.path / "config.json", config_to_dict(p.config, "abc"))
        p.run.set_status("finished" if loss else "diverged", step=1)
        if loss:
            write_json(p.path / "summary.json", {"val_loss": loss})
    assert mean_losses(planned) == {0.004: pytest.approx(3.1), 0.008: math.inf}
    assert all(p.run.concluded for p in planned)


@pytest.mark.parametrize(
    ("changes", "size", "model", "words"),
    [
        ({"family": "qwen3"}, 3, Qwen3Config(heads=3, head_dim=16, **SHAPE), "3 heads"),
        ({"family": "lstm"}, 48, LSTMConfig(width=48, **SHAPE), "width 48"),
        ({"family": "lstm", "layers": 1}, 48, LSTMConfig(width=48, layers=1, **SHAPE), "width 48"),
        ({"layers": 3}, 1, EnokiConfig(heads=1, head_dim=16, layers=3, **SHAPE), "1 head"),
    ],
)
def test_sizes_are_heads_or_widths_of_the_family(changes, size, model, words):
    study = Study(sizes=(size,), **changes)
    assert study.model(size) == model
    assert study.words(size) == words
    config = study.config(Cell("adamw", size), Rate(0.01, "given"), 0, CPU)
    assert config.model == model
    assert config.steps == 20 * count_parameters(model).total // (16 * 128)
    assert study.key("abc") != Study().key("abc")


def test_settings_that_studies_did_not_have_at_first_leave_the_folder_of_old_ones():
    assert Study().key("abc") == "46147e"
    assert Study(schedule="linear").key("abc") != "46147e"
    config = Study(schedule="linear", precision="bfloat16").config(
        Cell("adamw", 1), Rate(0.01, "given"), 0, CPU
    )
    assert (config.schedule.name, config.precision) == ("linear", "bfloat16")


def test_studies_that_differ_in_what_they_train_only_share_their_runs():
    other = Study(optimizers=("dana-mk4",), sizes=(3,), seeds=5)
    assert other.key("abc") == Study().key("abc")
    assert other.key("abc") != other.key("abd")
    assert Study(tokens_per_param=10).key("abc") != Study().key("abc")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizers": ()}, "optimizers must be named once each"),
        ({"sizes": (1, 1)}, "sizes must be named once each"),
        ({"optimizers": ("adamx",)}, "unknown optimizer 'adamx'"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"factor": 1.0}, "must exceed 1"),
        ({"rates": 0}, "rates must be at least 1"),
        ({"family": "rnn"}, "family must be one of enoki, qwen3, lstm, got 'rnn'"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Study(**change)
