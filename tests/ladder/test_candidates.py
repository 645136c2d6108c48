"""What is compared: a name, or a name with values of its own."""

import dataclasses

import pytest

from adana import schedules
from adana.ladder import (
    PRESETS,
    Candidate,
    Cell,
    Rate,
    Study,
    candidate,
    first_rates,
    folder_name,
    labels,
    plan_run,
    with_optimizer,
)
from adana.ladder.published_laws import NoLawError
from adana.train import LayoutConfig, OptimizerConfig, TrainConfig, optimizer_entry, optimizer_names


@pytest.mark.parametrize("name", optimizer_names())
def test_a_name_alone_is_the_optimizer_as_it_is(name):
    own = candidate(name)
    assert (own.name, own.values, own.label) == (name, {}, name)
    assert own.config(0.1) == OptimizerConfig(name, 0.1)


def test_values_are_read_and_the_label_reads_as_the_same_again():
    own = candidate("adana: kappa=0.90, momentum-scale=2 ,state_dtype=log16")
    assert own.values == {"kappa": 0.9, "momentum_scale": 2.0, "state_dtype": "log16"}
    assert own.label == "adana:kappa=0.9,momentum_scale=2,state_dtype=log16"
    assert candidate(own.label) == own


@pytest.mark.parametrize("value", [1e-8, 1 / 3, 1234567.0, 4.0])
def test_a_label_keeps_a_value(value):
    label = Candidate("adamw", {"eps": value}).label
    assert candidate(label).values["eps"] == value
    assert candidate(label).label == label


@pytest.mark.parametrize("name", optimizer_names())
def test_each_takes_what_it_reads_and_nothing_else(name):
    entry = optimizer_entry(name)
    for key in ("kappa", "beta1", "clip_snr"):
        if key in entry.reads:
            assert candidate(f"{name}:{key}=0.5").config(0.1) == OptimizerConfig(
                name, 0.1, label=f"{name}:{key}=0.5", **{key: 0.5}
            )
        else:
            with pytest.raises(ValueError, match=f"'{key}' is nothing that {name} reads"):
                candidate(f"{name}:{key}=0.5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo:kappa=0.9", "unknown optimizer 'foo'"),
        ("adana:", "Write adana:KEY=VALUE,KEY=VALUE with keys of omega, kappa"),
        ("adana:kapa=0.9", "'kapa' is nothing that adana reads"),
        ("adana:kappa", "kappa takes a number, got ''"),
        ("adana:kappa=high", "kappa takes a number, got 'high'"),
        ("adana:kappa=nan", "kappa takes a number, got 'nan'"),
        ("adana:kappa=0.8,kappa=0.9", "'kappa' is given twice"),
        ("adana:lr=0.1", "--lr"),
        ("adana:state_dtype=int8", "state_dtype is one of fp32"),
        ("adamw:state_dtype=log16", "'state_dtype' is nothing that adamw reads"),
    ],
)
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        candidate(text)


def test_the_same_candidate_written_twice_is_refused():
    with pytest.raises(ValueError, match=r"adana:delta=4,kappa=0.90 is named twice"):
        labels(["adana", "adana:kappa=0.9,delta=4", "adana:delta=4,kappa=0.90"])


@pytest.mark.parametrize(
    "text", ["adana:kappa=0.85", "adana:delta=8", "adana:state_dtype=fp32", "adana:omega=4"]
)
def test_a_candidate_that_is_another_under_a_second_name_is_refused(text):
    with pytest.raises(ValueError, match="it is the same as adana; leave one out"):
        labels(["adamw", "adana", text])


def test_values_that_the_optimizer_refuses_are_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match=r"adana:kappa=-1: kappa must be a finite number"):
        labels(["adana", "adana:kappa=-1"])


def test_values_that_differ_in_the_last_digit_are_two_candidates():
    close = ["adana:kappa=0.7500000000001", "adana:kappa=0.75000000000014"]
    assert labels(close) == tuple(close)


@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_may_have_an_omega_of_its_own(name, recwarn):
    assert labels([name, f"{name}:omega=3"]) == (name, f"{name}:omega=3")
    assert not recwarn.list


def test_its_own_values_hold_against_those_of_the_base_which_hold_for_the_rest():
    base = TrainConfig(optimizer=OptimizerConfig("adamw", 1.0, kappa=0.7, omega=2.0), steps=100)
    own = with_optimizer(base, "adana:kappa=0.9", Rate(0.1, "given")).optimizer
    assert (own.name, own.label, own.lr) == ("adana", "adana:kappa=0.9", 0.1)
    assert (own.kappa, own.omega) == (0.9, 2.0)


def test_a_run_directory_has_no_sign_that_other_programs_read_otherwise(tmp_path):
    base = TrainConfig(optimizer=OptimizerConfig("adamw", 1.0), steps=100)
    config = with_optimizer(base, "adana:kappa=0.9,omega=8", Rate(0.1, "given"))
    name = plan_run(config, tmp_path, "0" * 16).path.name
    assert name.startswith("adana-kappa0.9-omega8-T100-s0-")
    assert not set(":,=") & set(name)
    assert folder_name("adana") == "adana"


# --- in a study -----------------------------------------------------------------------------------

STUDY = dataclasses.replace(
    PRESETS["smoke"], optimizers=("adamw", "adana", "adana:kappa=0.90,omega=8"), vocab_size=512
)
OWN = "adana:kappa=0.9,omega=8"


def test_a_study_trains_a_candidate_with_its_values_under_its_label():
    assert STUDY.optimizers == ("adamw", "adana", OWN)
    configs = {
        cell.optimizer: STUDY.config(cell, Rate(0.01, "given"), 0, LayoutConfig()).optimizer
        for cell in STUDY.cells
    }
    assert configs["adana"] == OptimizerConfig("adana", 0.01)
    assert configs[OWN] == OptimizerConfig("adana", 0.01, label=OWN, kappa=0.9, omega=8.0)


def test_studies_that_differ_in_candidates_share_their_folder():
    assert STUDY.key("data") == dataclasses.replace(STUDY, optimizers=("adamw",)).key("data")


def test_a_grid_is_laid_around_the_law_of_its_kappa_or_the_default_ones():
    def grid(label):
        study = Study(optimizers=(label,), vocab_size=512)
        return first_rates(study, Cell(label, 2))[0].source

    assert "of adana as it is by default" in grid("adana:kappa=0.75")
    assert "of adana as it is" not in grid("adana")
    laws = [grid(f"adana:kappa={kappa}").partition("shape")[2] for kappa in (0.75, 0.85, 0.87)]
    assert laws[0] != laws[1]
    assert laws[1] == laws[2]  # 0.87 has none of its own
    assert schedules.KAPPA == 0.85


def test_without_any_law_the_error_says_which_rate_to_give():
    study = Study(optimizers=("log-adamw:kappa=0.9",), vocab_size=512)
    with pytest.raises(NoLawError, match=r"--lr log-adamw:kappa=0.9=VALUE"):
        first_rates(study, study.cells[0])
