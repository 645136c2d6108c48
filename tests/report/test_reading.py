"""What reports make of run directories that are broken, copied or changed by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adana.cli import main
from adana.report import as_dict, compare, read_study, render, study_terminal
from adana.report.reading import NAMED, read_runs
from adana.report.study_words import warnings
from adana.report.tables import notes
from adana.runs import Run, RunError, find_runs, identity, write_json


@pytest.fixture
def pair(tmp_path: Path, write_run: Callable[..., Run]) -> list[Run]:
    """Two optimizers with two seeds each."""
    for seed in (0, 1):
        write_run(tmp_path / "runs", "adamw", seed)
        write_run(tmp_path / "runs", "adana", seed, gain=0.1)
    return find_runs(tmp_path / "runs")


def named(run: Run) -> Run:
    """Give a run the name that the ladder gives it, with its identity."""
    config = run.config()
    label, steps, seed = config["optimizer"]["label"], config["steps"], config["seed"]
    path = run.path.with_name(f"{label}-T{steps}-s{seed}-{identity(config)}")
    return Run(run.path.rename(path))


def changed(run: Run, name: str, **values: object) -> None:
    path = run.path / name
    write_json(path, json.loads(path.read_text()) | values)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("status.json", ""),
        ("status.json", "[]"),
        ("status.json", "{}"),
        ("summary.json", '{"val_loss": 3.1'),
        ("environment.json", "x"),
        ("metrics.jsonl", "x\n{}\n"),
    ],
)
def test_a_run_with_a_broken_file_is_left_out_and_named(
    pair: list[Run], name: str, content: str
) -> None:
    (pair[3].path / name).write_text(content)
    comparison = compare(pair, "adamw")
    assert [row.seeds for row in comparison.rows] == [2, 1]
    (said,) = [text for text in notes(comparison) if "cannot be read" in text]
    assert str(pair[3].path) in said
    assert said in as_dict(comparison)["remarks"]
    assert pair[3].name in render(comparison).split("Cost and diagnostics")[0]
    assert said in warnings(read_study(pair, "adamw"))


def test_where_no_run_can_be_read_the_error_has_the_reasons(pair: list[Run]) -> None:
    for run in pair:
        (run.path / "status.json").write_text("")
    with pytest.raises(RunError, match=r"none of the runs can be read:\n.*status\.json"):
        compare(pair, "adamw")


@pytest.mark.parametrize("verb", ["report", "fit"])
def test_the_commands_go_on_without_a_broken_run(
    verb: str, study_runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(study_runs[0].path.parent, tmp_path / "runs")
    broken = tmp_path / "runs" / study_runs[0].name
    (broken / "summary.json").write_text("{")
    output = ["--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main([verb, str(tmp_path / "runs"), *output])
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Left out, it cannot be read" in said
    assert "summary.json cannot be read as JSON" in said


def test_a_configuration_without_an_optimizer_is_left_out(
    pair: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(pair[3], "config.json", optimizer="adana")
    with pytest.raises(SystemExit) as end:
        main(["report", str(tmp_path / "runs"), "--output", str(tmp_path / "out")])
    assert end.value.code == 0
    assert "does not say which optimizer" in " ".join(capsys.readouterr().out.split())


def test_a_copy_that_ended_alike_counts_once_and_is_named(pair: list[Run], tmp_path: Path) -> None:
    copy = shutil.copytree(pair[0].path, tmp_path / "copy" / pair[0].name)
    runs = [*pair, Run(copy)]
    comparison = compare(runs, "adamw")
    assert comparison.rows[0].seeds == 2
    (said,) = comparison.remarks
    assert f"{copy} is the same training as {pair[0].path}" in said
    assert read_study(runs, "adamw").remarks == (said,)


@pytest.mark.parametrize("read", [compare, read_study])
def test_a_copy_that_ended_otherwise_is_refused_with_both_paths(
    read: Callable[..., object], pair: list[Run], tmp_path: Path
) -> None:
    copy = Run(shutil.copytree(pair[0].path, tmp_path / "copy" / pair[0].name))
    changed(copy, "summary.json", val_loss=1.0)
    with pytest.raises(RunError) as refused:
        read([*pair, copy], "adamw")
    assert str(copy.path) in str(refused.value)
    assert str(pair[0].path) in str(refused.value)


def test_settings_that_are_not_those_of_the_name_are_told(pair: list[Run]) -> None:
    runs = [named(run) for run in pair]
    assert read_runs(runs).remarks == ()
    optimizer = runs[2].config()["optimizer"]
    changed(runs[2], "config.json", optimizer=optimizer | {"lr": 2 * optimizer["lr"]})
    study = read_study(runs, "adamw")
    (said,) = study.remarks
    assert f"{runs[2].path} was changed after it was made" in said
    assert said in warnings(study)


def test_a_name_of_another_form_holds_no_identity(pair: list[Run]) -> None:
    other = pair[0].path.with_name("my-run-0123456789ab")
    assert read_runs([Run(pair[0].path.rename(other))]).remarks == ()


def test_a_summary_that_contradicts_the_record_is_told(pair: list[Run]) -> None:
    changed(pair[0], "summary.json", val_loss=1.0)
    comparison = compare(pair, "adamw")
    (said,) = comparison.remarks
    assert "its summary.json says a final loss of 1, the last evaluation" in said
    assert said in notes(comparison)


def test_a_loss_above_that_of_guessing_is_told(
    tmp_path: Path, write_run: Callable[..., Run]
) -> None:
    model = {"width": 64, "depth": 4, "sequence_length": 128, "vocab_size": 1024}
    write_run(tmp_path, "adamw", 0, model=model)
    write_run(tmp_path, "worse", 0, gain=-20, model=model)
    (said,) = compare(find_runs(tmp_path), "adamw").remarks
    assert said.startswith("worse: 1 of 1 finished runs end worse than guessing")
    assert "ln V = 6.93" in said


def test_many_runs_with_one_fault_are_counted(
    tmp_path: Path, write_run: Callable[..., Run]
) -> None:
    runs = [write_run(tmp_path, "adamw", seed) for seed in range(NAMED + 3)]
    for run in runs[1:]:
        (run.path / "status.json").write_text("")
    remarks = read_runs(runs).remarks
    assert len(remarks) == NAMED + 1
    assert remarks[-1] == "And 2 more runs like the last."


def test_a_study_prints_its_remarks(study_runs: list[Run], tmp_path: Path) -> None:
    shutil.copytree(study_runs[0].path.parent, tmp_path / "runs")
    (tmp_path / "runs" / study_runs[0].name / "status.json").write_text("")
    study = read_study(find_runs(tmp_path / "runs"), "adamw")
    assert study.remarks
    assert study_terminal(study) is not None
