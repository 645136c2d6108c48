"""Tuned optima are read off runs, and runs that do not belong together are not mixed."""

import dataclasses
import math

import pytest

from adana.ladder import read_tuned
from adana.runs import Run, identity

from .tuned_runs import ZETA, best_lr, bowl_runs, pretend, tuned_config


def test_every_optimizer_and_size_has_its_bowl(tmp_path):
    runs = bowl_runs(tmp_path, heads=(4, 2)) + bowl_runs(tmp_path, "adana", heads=(2,))
    tuned, notes = read_tuned(runs)
    assert [(size.optimizer, size.scale.width) for size in tuned] == [
        ("adamw", 32), ("adamw", 64), ("adana", 32),
    ]  # fmt: skip
    assert notes == []
    for size in tuned:
        heads = size.scale.width // 16
        assert size.bowl.lr == pytest.approx(best_lr(heads))
        assert size.bowl.curvature == pytest.approx(ZETA)
        assert len(size.runs) == 10
        assert size.tokens_per_step == 512
        assert size.scale.tokens == 200 * heads**2 * 512
    assert tuned[0].settings["omega"] == 4.0
    assert "kappa" not in tuned[0].settings
    assert tuned[2].settings["kappa"] == 0.85


def test_its_runs_are_named_by_their_identity(tmp_path):
    (run,) = bowl_runs(tmp_path, heads=(2,), seeds=1, rates=(0,))
    (size,), _ = read_tuned([run])
    assert size.runs == (identity(run.config()),)


def test_a_diverged_run_is_a_result_and_an_unfinished_one_is_not(tmp_path):
    runs = bowl_runs(tmp_path, heads=(2,), seeds=1)
    runs += [
        pretend(tmp_path, tuned_config(lr=0.3), None, "diverged"),
        pretend(tmp_path, tuned_config(lr=0.2), None, "interrupted"),
    ]
    (size,), notes = read_tuned(runs)
    assert size.bowl.diverged == (0.3,)
    assert len(notes) == 1
    assert "is interrupted" in notes[0]


def test_an_optimizer_that_only_diverged_is_left_out_and_named(tmp_path):
    runs = [pretend(tmp_path, tuned_config(lr=lr), None, "diverged") for lr in (0.1, 0.2)]
    tuned, notes = read_tuned(runs)
    assert tuned == []
    assert "every run of adamw" in notes[0]


@pytest.mark.parametrize(
    ("change", "named"), [({"clip": 1.0}, "clip"), ({"precision": "bfloat16"}, "precision")]
)
def test_runs_that_differ_in_more_than_what_is_tuned_are_not_mixed(tmp_path, change, named):
    runs = bowl_runs(tmp_path, heads=(2,), seeds=1)
    runs.append(pretend(tmp_path, dataclasses.replace(tuned_config(lr=0.07), **change), 3.0))
    with pytest.raises(ValueError, match=f"differ in {named} too.*differ in learning rate"):
        read_tuned(runs)


def test_two_kappas_are_not_mixed(tmp_path):
    runs = bowl_runs(tmp_path, "adana", heads=(2,)) + bowl_runs(
        tmp_path, "adana", heads=(2,), kappa=0.75
    )
    with pytest.raises(ValueError, match=r"differ in optimizer \(kappa\) too"):
        read_tuned(runs)


def test_after_a_search_the_best_settings_of_a_size_can_be_taken(tmp_path):
    runs = bowl_runs(tmp_path, "adana", heads=(2,), seeds=1)
    for lr, loss in ((0.008, 4.5), (0.016, 4.4), (0.032, 4.5)):
        config = tuned_config("adana", lr=lr, kappa=0.75)
        runs.append(pretend(tmp_path, dataclasses.replace(config, clip=1.0), loss))
    lonely = pretend(tmp_path, tuned_config("adana", lr=0.01, kappa=0.9), 4.3)
    with pytest.raises(ValueError, match=r"differ in .*\(--best-settings\)"):
        read_tuned(runs)
    (size,), (note,) = read_tuned([*runs, lonely], best_settings=True)
    assert (size.settings["kappa"], size.settings["clip"]) == (0.75, 1.0)
    assert len(size.runs) == 3  # one rate alone is no bowl, however low its loss
    assert "best of 3 settings, 3 of 9 runs" in note


def test_runs_on_other_data_or_models_are_never_mixed(tmp_path):
    runs = bowl_runs(tmp_path, heads=(2,), seeds=1)
    config = tuned_config(lr=0.07)
    model = dataclasses.replace(config.model, init="standard")
    runs.append(pretend(tmp_path, dataclasses.replace(config, model=model), 3.0))
    with pytest.raises(ValueError, match="differ in model too") as error:
        read_tuned(runs, best_settings=True)
    assert "--best-settings" not in str(error.value)


def test_of_several_omegas_the_lowest_bowl_is_taken_and_omega_has_a_bowl_too(tmp_path):
    runs = []
    for omega in (2.0, 4.0, 8.0):
        for lr in (0.5, 1, 2):
            loss = 4 + ZETA * math.log(lr) ** 2 + 0.05 * math.log(omega / 5) ** 2
            config = tuned_config(lr=best_lr(2) * lr, omega=omega)
            runs.append(pretend(tmp_path, config, loss))
    (size,), _ = read_tuned(runs)
    assert size.settings["omega"] == 4.0
    assert size.bowl.lr == pytest.approx(best_lr(2))
    assert size.optimum("omega").lr == pytest.approx(5.0, rel=1e-3)
    with pytest.raises(ValueError, match="read for lr and omega, not for 'kappa'"):
        size.optimum("kappa")


def kappa_runs(root, kappas, rates, heads=2):
    """The best kappa is 0.8 at every learning rate, the best rate twice `best_lr` at every one."""
    return [
        pretend(
            root,
            tuned_config("adana", heads, lr=best_lr(heads) * rate, kappa=kappa, seed=seed),
            4 + ZETA * math.log2(rate / 2) ** 2 + math.log(kappa / 0.8) ** 2 + 0.01 * seed,
        )
        for kappa in kappas
        for rate in rates
        for seed in range(2)
    ]


def test_kappa_has_a_bowl_where_every_value_has_its_own_over_learning_rates(tmp_path):
    runs = kappa_runs(tmp_path, (0.7, 0.8, 0.9), (0.5, 1, 2, 4))
    (size,), _ = read_tuned(runs, hyperparameter="kappa")
    assert size.settings["kappa"] == 0.8
    assert size.bowl.lr == pytest.approx(2 * best_lr(2))
    assert size.optimum("kappa").convex
    assert size.optimum("kappa").lr == pytest.approx(0.8, rel=1e-3)


def test_after_a_descent_kappa_has_its_bowl_at_the_best_learning_rate(tmp_path):
    runs = kappa_runs(tmp_path, (0.8,), (1, 2, 4)) + kappa_runs(tmp_path, (0.0625, 0.75, 0.9), (2,))
    (size,), _ = read_tuned(runs, hyperparameter="kappa")
    assert size.settings["kappa"] == 0.8
    # Four seeds of another rate at one kappa do not get in the way, nor does the far value.
    assert size.optimum("kappa").lr == pytest.approx(0.8, rel=1e-3)


def test_a_kappa_of_zero_has_no_place_in_a_bowl(tmp_path):
    runs = kappa_runs(tmp_path, (0.7, 0.8, 0.9), (1, 2, 4))
    loss = tuned_config("adana", lr=2 * best_lr(2), kappa=0.0)
    (size,), _ = read_tuned([*runs, pretend(tmp_path, loss, 6.0)], hyperparameter="kappa")
    assert size.optimum("kappa").lr == pytest.approx(0.8, rel=1e-3)


def test_rules_are_for_some_hyperparameters_only(tmp_path):
    with pytest.raises(ValueError, match=r"rules are for lr, omega, kappa.*, not for 'beta1'"):
        read_tuned([], hyperparameter="beta1")


def test_no_runs_are_no_optima():
    assert read_tuned([]) == ([], [])
    assert read_tuned([Run(path) for path in ()]) == ([], [])
