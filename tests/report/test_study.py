"""What `read_study` finds in the run directories of a study, what it chooses, what it refuses."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from adana.report import Result, Study, is_study, read_study, study_charts
from adana.report.study_laws import Worth
from adana.report.study_tables import of_scales, sheets
from adana.report.study_words import separable, verdict, warnings
from adana.report.study_words import worth as told
from adana.runs import Run, RunError, find_runs, write_json

WriteRun = Callable[..., Run]
WriteCell = Callable[..., None]


def result(study: Study, label: str, parameters: int) -> Result:
    return next(r for r in study.results if (r.label, r.scale.parameters) == (label, parameters))


def change(run: Run, **values: object) -> None:
    write_json(run.path / "config.json", run.config() | values)


def said(study: Study, text: str) -> str:
    """Return the one warning that holds `text`."""
    (found,) = [warning for warning in warnings(study) if text in warning]
    return found


# --- reading --------------------------------------------------------------------------------------


def test_sizes_come_by_compute_and_the_baseline_first(study: Study) -> None:
    assert [scale.name for scale in study.scales] == ["250k", "1M", "4M", "16M"]
    assert study.labels == ("adamw", "adana")
    assert [r.label for r in study.at(study.scales[0])] == ["adamw", "adana"]


def test_several_sizes_or_rates_are_a_study_and_one_of_each_is_not(
    study_runs: list[Run], runs: list[Run], tmp_path: Path, write_cell: WriteCell
) -> None:
    assert is_study(study_runs)
    assert not is_study(runs)
    for lr in (0.002, 0.004):
        write_cell(tmp_path, "adamw", 64, 500, lr)
    assert is_study(find_runs(tmp_path))


def test_an_unknown_baseline_is_refused_with_the_labels_there_are(study_runs: list[Run]) -> None:
    with pytest.raises(RunError, match=r"'sgd'.*'adamw', 'adana'"):
        read_study(study_runs, "sgd")
    with pytest.raises(RunError, match="there are no runs"):
        read_study([], "adamw")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (
            {"data": {"corpus": "other", "fingerprint": "xyz", "vocab_size": 1024}},
            r"other \(xyz\)",
        ),
        ({"data": {"corpus": "python", "fingerprint": "abc", "vocab_size": 99}}, "vocabulary"),
        ({"model": {"width": 64, "sequence_length": 7}}, "1 of sequence length 7"),
        ({"eval_tokens": 12}, r"1 of evaluated tokens None .*; 1 of evaluated tokens 12 \(adana-"),
    ],
)
def test_losses_that_have_no_common_scale_are_refused(
    tmp_path: Path, write_run: WriteRun, values: dict[str, object], what: str
) -> None:
    write_run(tmp_path, "adamw", 0)
    change(write_run(tmp_path, "adana", 0), **values)
    with pytest.raises(RunError, match=what):
        read_study(find_runs(tmp_path), "adamw")


def test_a_seed_counts_once(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path / "one", "adamw", 0)
    write_run(tmp_path / "two", "adamw", 0, gain=0.1)
    with pytest.raises(RunError, match="a seed counts once"):
        read_study(find_runs(tmp_path), "adamw")


def test_one_label_for_two_optimizers_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0)
    run = write_run(tmp_path, "adamw", 1)
    change(run, optimizer=run.config()["optimizer"] | {"name": "muon"})
    with pytest.raises(RunError, match="both labelled 'adamw'"):
        read_study(find_runs(tmp_path), "adamw")


def test_a_run_in_progress_is_named_and_not_counted(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0, lr=0.004, final=3.0)
    write_run(tmp_path, "adamw", 1, lr=0.004, final=3.0, state="running", stop=400)
    write_run(tmp_path, "adamw", 0, lr=0.008, final=3.1)
    study = read_study(find_runs(tmp_path), "adamw")
    assert study.results[0].choice.losses == (3.0,)
    assert "adamw-2000-s1" in said(study, "have not finished")
    assert study.spending[0].unfinished == 1


# --- choosing -------------------------------------------------------------------------------------


def test_the_rate_with_the_lowest_mean_loss_is_chosen_at_each_size(study: Study) -> None:
    for parameters, ratio in ((250_000, 1), (1_000_000, 2), (4_000_000, 4), (16_000_000, 8)):
        for label, best in (("adamw", 0.004), ("adana", 0.016)):
            choice = result(study, label, parameters).choice
            assert choice.chosen is not None
            assert choice.chosen.lr == pytest.approx(best / ratio)
            assert choice.edge == ""
            assert choice.bowl is not None
            assert choice.bowl.lr == pytest.approx(best / ratio, rel=1e-3)


def test_a_rate_that_diverged_on_a_seed_cannot_win(tmp_path: Path, write_run: WriteRun) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "adamw", seed, lr=0.002, final=3.2)
        write_run(tmp_path, "adamw", seed, lr=0.004, final=3.1)
    write_run(tmp_path, "adamw", 0, lr=0.008, final=2.0)
    write_run(tmp_path, "adamw", 1, lr=0.008, final=9.0, state="diverged", stop=50)
    study = read_study(find_runs(tmp_path), "adamw")
    choice = study.results[0].choice
    assert choice.chosen is not None
    assert choice.chosen.lr == 0.004
    assert "1 of 6 runs diverged" in said(study, "diverged")


def test_rates_are_compared_over_the_seeds_that_all_have(
    tmp_path: Path, write_run: WriteRun
) -> None:
    """A second, unlucky seed of the better rate does not make the other one win."""
    write_run(tmp_path, "adamw", 0, lr=0.002, final=3.10)
    write_run(tmp_path, "adamw", 0, lr=0.004, final=3.05)
    write_run(tmp_path, "adamw", 1, lr=0.004, final=3.25)
    choice = read_study(find_runs(tmp_path), "adamw").results[0].choice
    assert choice.chosen is not None
    assert choice.chosen.lr == 0.004
    assert choice.losses == (3.05, 3.25)


def test_other_settings_are_not_chosen_from_but_told(tmp_path: Path, write_run: WriteRun) -> None:
    for lr in (0.002, 0.004):
        write_run(tmp_path, "adamw", 0, lr=lr, final=3.0 + lr)
    write_run(tmp_path, "adamw", 0, lr=0.002, final=2.5, kappa=0.7)
    study = read_study(find_runs(tmp_path), "adamw")
    assert study.results[0].choice.losses == (3.002,)
    assert "2.5000 instead of 3.0020 with kappa 0.7 for 0.85" in said(study, "Not counted")


def test_a_best_rate_at_the_edge_is_told(tmp_path: Path, write_run: WriteRun) -> None:
    for lr, loss in ((0.002, 3.2), (0.004, 3.1), (0.008, 3.0)):
        write_run(tmp_path, "adamw", 0, lr=lr, final=loss)
    study = read_study(find_runs(tmp_path), "adamw")
    assert study.results[0].choice.edge == "higher"
    assert "adamw at 250k the highest" in said(study, "at an edge")


def test_unequal_numbers_of_trials_are_told(study: Study) -> None:
    assert not [text for text in warnings(study) if text.startswith("Unequal")]


def test_more_rates_for_one_optimizer_are_told(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0, lr=0.002, final=3.0)
    for lr in (0.002, 0.004, 0.008):
        write_run(tmp_path, "adana", 0, lr=lr, final=3.0)
    study = read_study(find_runs(tmp_path), "adamw")
    assert "adamw 1, adana 3" in said(study, "Unequal numbers")


def test_another_batch_size_for_one_optimizer_is_told(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0)
    write_run(tmp_path, "adana", 0, batch_size=32)
    study = read_study(find_runs(tmp_path), "adamw")
    assert "adamw 16, adana 32 at 250k" in said(study, "do not share batch_size")


def test_the_best_value_of_a_varied_setting_is_found(study: Study) -> None:
    (found,) = study.sensitivities
    assert found.name == "kappa"
    losses = {value: loss for _, _, value, loss, _ in found.rows}
    assert list(losses) == [0.75, 0.85, 0.95]
    assert min(losses, key=lambda value: losses[value]) == 0.85


def test_settings_that_are_no_numbers_can_be_varied_too(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for i, values in enumerate(({"averages": []}, {"averages": ["ema:0.9"]})):
        write_run(tmp_path / str(i), "adamw", 0, lr=0.002, final=3.0 + i, **values)
        write_run(tmp_path / str(i), "adamw", 0, lr=0.004, final=3.1 + i, **values)
    study = read_study(find_runs(tmp_path), "adamw")
    assert [found.name for found in study.sensitivities] == ["averages"]
    assert "sensitivity-averages" in study_charts(study)


# --- compute --------------------------------------------------------------------------------------


def test_the_multiplier_that_the_losses_were_made_with_is_found(study: Study) -> None:
    inside = [r.worth for r in study.results if r.worth is not None and r.worth.inside]
    assert len(inside) >= 3
    for worth in inside:
        assert worth.value == pytest.approx(1.4, rel=0.12)
    said = verdict(study)
    assert "adana needs less compute than adamw" in said[0]
    assert any("2 seeds are few" in text for text in said)
    made = sum(r.worth is not None and bool(r.worth.low or r.worth.high) for r in study.results)
    assert any(f"{made} multipliers have intervals of 90 %" in text for text in said)


def test_a_multiplier_of_which_only_a_bound_is_known_is_drawn_as_that(study: Study) -> None:
    beyond = [r for r in study.results if r.worth and r.worth.value is None]
    assert [r.scale for r in beyond] == [study.ladder[-1]], "below all of the baseline's losses"
    layers = study_charts(study)["multiplier"].to_dict()
    (bound,) = [layer for layer in layers["layer"] if layer["mark"].get("shape") == "triangle-up"]
    ((row,),) = [rows for rows in layers["datasets"].values() if "bound" in rows[0]]
    assert bound["mark"]["type"] == "point"
    assert row["bound"] == "at least"
    assert row["M"] == pytest.approx(beyond[0].worth.low, rel=1e-3)
    assert row["compute"] == pytest.approx(study.ladder[-1].compute, rel=1e-3)


def test_one_size_gives_no_multiplier_and_says_so(tmp_path: Path, write_cell: WriteCell) -> None:
    for label in ("adamw", "adana"):
        for lr in (0.004, 0.008):
            write_cell(tmp_path, label, 64, 500, lr)
    study = read_study(find_runs(tmp_path), "adamw")
    assert study.findings.piecewise == {}
    assert "there is one size" in study.findings.statements[0]
    assert "adana against adamw" in verdict(study)[0]
    assert separable(study.results[1]) == "-"


def test_a_curve_keeps_the_tokens_a_parameter_and_the_rest_is_told(
    tmp_path: Path, write_cell: WriteCell
) -> None:
    for width, steps in ((64, 500), (128, 2000), (256, 8000)):
        write_cell(tmp_path, "adamw", width, steps, 0.004)
    write_cell(tmp_path, "adamw", 64, 4000, 0.004)
    study = read_study(find_runs(tmp_path), "adamw")
    assert [(scale.name, scale.steps) for scale in study.ladder] == [
        ("250k", 500),
        ("1M", 2000),
        ("4M", 8000),
    ]
    assert "250k for 4,000 steps" in said(study, "Not on the curves")


# --- budget and cost ------------------------------------------------------------------------------


def test_the_budget_counts_every_run(study: Study) -> None:
    spent = {one.label: one for one in study.spending}
    assert (spent["adamw"].trials, spent["adamw"].runs, spent["adamw"].diverged) == (13, 25, 1)
    assert (spent["adana"].trials, spent["adana"].runs) == (15, 29)
    steps = 3 * 2 * (500 + 1000 + 2000 + 4000) + 100
    assert spent["adamw"].tokens == pytest.approx(2048 * steps)
    assert spent["adamw"].device_hours == pytest.approx(24 * 61 / 3600)
    assert spent["adamw"].silent == 1


def test_compute_counts_too_where_nothing_finished(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path, "adamw", 0, lr=0.01, width=64, final=3.0, steps=500)
    hot = {"final": 9.0, "state": "diverged", "stop": 100}
    write_run(tmp_path, "adamw", 1, lr=0.1, width=64, steps=1000, **hot)
    (spent,) = read_study(find_runs(tmp_path), "adamw").spending
    assert spent.compute == pytest.approx(6 * 250_000 * 2048 * (500 + 100) / 3.6e18)


def test_the_cost_of_a_step_is_split(study: Study) -> None:
    smallest = study.costs[0]
    assert smallest.step_ms == pytest.approx(9.3)
    assert smallest.share == pytest.approx(1.1 / 9.3)


def test_a_gain_is_also_told_with_the_head_counted(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, larger = (result(study, "adana", size) for size in (1_000_000, 4_000_000))
    assert found.worth is not None
    assert found.worth_with_head is not None
    # Both are read off one straight line in logarithms, whose axis has shrunk.
    longer = math.log(larger.scale.compute / found.scale.compute)
    shorter = math.log(larger.scale.with_head / found.scale.with_head)
    expected = math.exp(math.log(found.worth.value) * shorter / longer)
    assert found.worth_with_head.value == pytest.approx(expected)
    assert expected < found.worth.value
    assert not [text for text in verdict(study) if "output head" in text]  # 1.7 % less
    monkeypatch.setattr("adana.report.study_words.TOLD", 0.01)
    (told,) = [text for text in verdict(study) if "output head" in text]
    assert "adana " in told
    assert f"{expected:.2f} at 1M" in told


def test_a_gain_is_also_told_by_the_clock(study: Study) -> None:
    found = result(study, "adana", 1_000_000)
    assert found.worth is not None
    assert found.time_worth == pytest.approx(found.worth.value)


@pytest.mark.parametrize("pace", [1.0, 3.0])
def test_the_clock_is_paid_for_the_optimizer_and_not_for_a_slow_machine(
    pace: float, tmp_path: Path, write_cell: WriteCell
) -> None:
    for label in ("adamw", "adana"):
        for width, steps in ((64, 500), (128, 1000)):
            write_cell(tmp_path, label, width, steps, 0.01)
    for run in find_runs(tmp_path):
        summary = run.summary() or {}
        if run.config()["optimizer"]["label"] == "adana":
            summary |= {key: pace * summary[key] for key in ("data_ms", "model_ms")}
            summary["optimizer_ms"] *= 2 * pace
            summary["tokens_per_second"] /= pace
        write_json(run.path / "summary.json", summary)
    found = result(read_study(find_runs(tmp_path), "adamw"), "adana", 250_000)
    assert found.worth is not None
    assert found.worth.value is not None
    assert found.time_worth == pytest.approx(found.worth.value * 9.3 / 10.4)


def test_a_size_without_a_finished_run_is_named_by_its_shape(
    tmp_path: Path, write_cell: WriteCell, write_run: WriteRun
) -> None:
    for label in ("adamw", "adana"):
        write_cell(tmp_path, label, 64, 500, 0.01)
    write_run(tmp_path, "adamw", 0, lr=0.01, width=128, final=3.0, state="running", stop=100)
    study = read_study(find_runs(tmp_path), "adamw")
    headings = [heading.split(" PFH")[0] for heading, _ in of_scales(study)]
    assert headings == ["250k parameters, 500 steps, 4.27e-07", "width 128, 2,000 steps"]
    assert "at sizes of 250k parameters" in verdict(study)[-1]


def test_weight_decay_is_told_as_the_runs_recorded_it(study: Study) -> None:
    row = next(sheet for sheet in sheets(study) if sheet.name == "decay").records[0]
    assert (row["kind"], row["omega"], row["tau_steps_peak"]) == ("coupled", 4.0, 125.0)
    assert row["tau_steps_end"] is None


def test_runs_that_do_not_tell_their_decay_have_no_row(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path, "adamw", 0)
    summary = run.summary() or {}
    del summary["weight_decay"]
    write_json(run.path / "summary.json", summary)
    study = read_study(find_runs(tmp_path), "adamw")
    assert next(sheet for sheet in sheets(study) if sheet.name == "decay").rows == ()


def worth(low: float | None, high: float | None, value: float | None, apart: bool) -> Worth:
    return Worth(value, low, high, inside=value is not None, separable=apart)


@pytest.mark.parametrize(
    ("found", "word", "text"),
    [
        (worth(1.1, 1.6, 1.3, apart=True), "better", "1.30 (1.10 to 1.60)"),
        (worth(1.05, None, None, apart=True), "better", "> 1.05"),
        (worth(None, 1.0000000001, None, apart=True), "worse", "< 1.00"),
        (worth(0.7, 0.9, 0.8, apart=True), "worse", "0.80 (0.70 to 0.90)"),
        (worth(0.7, 1.2, 0.9, apart=False), "not separable", "0.90 (0.70 to 1.20)"),
        (worth(None, None, 1.2, apart=False), "not separable", "1.20"),
        (worth(None, None, None, apart=False), "cannot say", "cannot say"),
        (Worth(1.3, 1.1, 1.6, inside=False, separable=True), "better", "1.30 (1.10 to 1.60, "
         "extrapolated)"),
    ],
)  # fmt: skip
def test_what_an_interval_says_is_said_in_words(
    study: Study, found: Worth, word: str, text: str
) -> None:
    one = dataclasses.replace(study.results[1], worth=found)
    assert separable(one) == word
    assert told(found) == text


def test_runs_of_a_size_that_nobody_finished_cost_what_they_trained_on(
    tmp_path: Path, write_run: WriteRun
) -> None:
    model = {"width": 64, "depth": 4, "sequence_length": 128}
    write_run(tmp_path, "adamw", 0, model=model)
    write_run(tmp_path, "adamw", 1, steps=4000, state="diverged", stop=300, model=model)
    (spent,) = read_study(find_runs(tmp_path), "adamw").spending
    assert spent.diverged == 1
    assert spent.tokens == 2000 * 2048 + 300 * 16 * 128
