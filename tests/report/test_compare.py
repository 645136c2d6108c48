"""What `compare` finds in run directories, and what it refuses to compare."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adana.report import Comparison, Row, compare, verdict
from adana.runs import Run, RunError, find_runs, write_json

WriteRun = Callable[..., Run]


def row(comparison: Comparison, label: str) -> Row:
    return next(row for row in comparison.rows if row.label == label)


def set_loss(run: Run, loss: float) -> None:
    write_json(run.path / "summary.json", (run.summary() or {}) | {"val_loss": loss})


def test_the_baseline_comes_first_and_the_longest_shared_horizon_is_compared(
    comparison: Comparison,
) -> None:
    assert comparison.labels == ("adamw", "adana", "adana-hot", "muon")
    assert comparison.steps == 2000
    assert [group.steps for group in comparison.horizons("adamw")] == [1000, 2000, 4000]


def test_losses_are_averaged_over_seeds_and_differences_paired(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for label, losses in {"adamw": (3.0, 3.2), "adana": (2.9, 3.14)}.items():
        for seed, loss in enumerate(losses):
            set_loss(write_run(tmp_path, label, seed), loss)
    found = row(compare(find_runs(tmp_path), "adamw"), "adana")
    assert found.loss is not None
    assert (found.loss.mean, found.loss.count) == (pytest.approx(3.02), 2)
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(-0.08)
    assert found.difference.error == pytest.approx(0.02)


def test_the_multiplier_is_measured_against_the_other_horizons(comparison: Comparison) -> None:
    found = row(comparison, "adana").multiplier
    assert found is not None
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 1 < found.low < found.value < found.high < 2
    assert row(comparison, "adamw").multiplier is None


def test_the_baselines_loss_is_reached_early_by_a_better_optimizer(comparison: Comparison) -> None:
    assert row(comparison, "adamw").share_to_baseline == 1.0
    fraction = row(comparison, "adana").share_to_baseline
    assert fraction is not None
    assert 0.1 < fraction < 0.9


def test_a_worse_optimizer_never_reaches_the_baseline(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0)
    write_run(tmp_path, "worse", 0, gain=-0.2)
    found = row(compare(find_runs(tmp_path), "adamw"), "worse")
    assert (found.reached, found.share_to_baseline) == (0, None)
    assert found.multiplier is not None
    assert found.multiplier.below == 1.0


def test_a_diverged_run_is_listed_and_not_averaged(comparison: Comparison) -> None:
    found = row(comparison, "adana-hot")
    assert found.seeds == 1
    assert [(run.seed, run.state, run.last_step) for run in found.failures] == [
        (1, "diverged", 400)
    ]
    assert any("seed 1 diverged at step 400" in sentence for sentence in verdict(comparison))


def test_an_optimizer_that_only_diverged_keeps_its_row(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0)
    write_run(tmp_path, "hot", 0, state="diverged", stop=300)
    found = compare(find_runs(tmp_path), "adamw")
    assert row(found, "hot").loss is None
    assert verdict(found)[0] == "hot has no finished run: seed 0 diverged at step 300."


def test_a_diverged_baseline_leaves_nothing_to_compare_with(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path, "adamw", 0, state="diverged", stop=300)
    write_run(tmp_path, "adana", 0)
    found = compare(find_runs(tmp_path), "adamw")
    assert "nothing can be compared" in verdict(found)[0]
    assert row(found, "adana").difference is None


def test_an_interrupted_run_counts_as_not_finished(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0)
    write_run(tmp_path, "adamw", 1, state="interrupted", stop=500)
    found = compare(find_runs(tmp_path), "adamw")
    assert row(found, "adamw").seeds == 1
    assert [run.state for run in found.failures] == ["interrupted"]


def test_an_infinite_final_loss_is_not_a_result(tmp_path: Path, write_run: WriteRun) -> None:
    set_loss(write_run(tmp_path, "adamw", 0), float("inf"))
    found = compare(find_runs(tmp_path), "adamw")
    assert row(found, "adamw").loss is None
    assert "no finite val_loss" in found.failures[0].reason


def test_other_models_are_refused_with_the_settings_that_differ(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path, "adamw", 0)
    write_run(tmp_path, "adana", 0, model={"width": 128, "depth": 4})
    with pytest.raises(RunError, match=r"model\.width: 64 and 128"):
        compare(find_runs(tmp_path), "adamw")


def test_layout_provenance_and_cadence_may_differ(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0)
    write_run(tmp_path, "adana", 0, layout={"device": "cuda"}, provenance={}, eval_every=7)
    assert compare(find_runs(tmp_path), "adamw").labels == ("adamw", "adana")


def test_one_label_for_two_settings_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0)
    optimizer = {"name": "adamw", "label": "adamw", "lr": 0.1}
    write_run(tmp_path, "adamw", 1, optimizer=optimizer)
    with pytest.raises(RunError, match=r"optimizer\.lr: 0\.002 and 0\.1"):
        compare(find_runs(tmp_path), "adamw")


def test_a_seed_counts_once(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path / "a", "adamw", 0)
    write_run(tmp_path / "b", "adamw", 0, gain=0.1)
    with pytest.raises(RunError, match="a seed counts once"):
        compare(find_runs(tmp_path), "adamw")


def test_a_missing_baseline_is_named_with_the_labels_there_are(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path, "adana", 0)
    with pytest.raises(RunError, match=r"'adamw'; the runs have 'adana'"):
        compare(find_runs(tmp_path), "adamw")
    with pytest.raises(RunError, match="there are no runs"):
        compare([], "adamw")


def test_no_shared_horizon_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0, steps=1000)
    write_run(tmp_path, "adana", 0, steps=2000)
    with pytest.raises(RunError, match="share no number of steps"):
        compare(find_runs(tmp_path), "adamw")


def test_a_difference_inside_the_noise_is_called_that(tmp_path: Path, write_run: WriteRun) -> None:
    for label, losses in {"adamw": (3.0, 3.2), "adana": (3.01, 3.18)}.items():
        for seed, loss in enumerate(losses):
            set_loss(write_run(tmp_path, label, seed), loss)
    sentences = verdict(compare(find_runs(tmp_path), "adamw"))
    assert sentences[0].startswith("adana ends 0.005 ± 0.015 below adamw (2 seeds each)")
    assert "within the seed noise" in sentences[0]
    assert "2 seeds are few" in sentences[-1]
    assert "30 of 100" in sentences[-1]
