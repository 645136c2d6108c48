"""`adana report` on the runs of a study."""

import shutil
from pathlib import Path

import pytest

from adana.cli import main
from adana.runs import Run, write_json


def test_a_study_is_told_in_the_terminal_and_written_in_every_format(
    study_runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, output = str(study_runs[0].path.parent), tmp_path / "report"
    with pytest.raises(SystemExit) as end:
        main(["report", root, "--output", str(output), "--images", "pdf"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "250k parameters, 500 steps" in said
    assert "adana needs less compute than adamw" in " ".join(said.split())
    assert "warning: adamw: 1 of 25 runs diverged." in said
    assert max(map(len, said.split("report: ")[0].splitlines())) <= 80
    written = {path.name for path in output.iterdir()}
    assert {"report.html", "study.json", "results.tex", "headline.pdf", "bowl-3.pdf"} <= written
    assert not any(name.endswith(".svg") for name in written)


def test_an_unknown_baseline_ends_with_a_failure(
    study_runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(study_runs[0].path.parent)
    with pytest.raises(SystemExit) as end:
        main(["report", root, "--baseline", "sgd", "--output", str(tmp_path / "report")])
    assert end.value.code == 1
    assert "baseline's label 'sgd'" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("verb", ["report", "fit"])
def test_runs_that_do_not_go_together_are_listed_and_one_names_those_that_do(
    verb: str, study_runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "runs"
    shutil.copytree(study_runs[0].path.parent, mixed)
    for seed, name in enumerate(("other-s0", "other-s1")):
        shutil.copytree(study_runs[0].path, mixed / name)
        config = {**study_runs[0].config(), "seed": seed}
        write_json(mixed / name / "config.json", {**config, "eval_tokens": 17})
    command = [verb, str(mixed), *(["--output", str(tmp_path / "out")] if verb == "report" else [])]
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "2 of evaluated tokens 17 (other-s0, other-s1)" in error
    assert "take those that go with one: --like adamw" in error
    alone = [verb, *map(str, sorted(mixed.iterdir())), *command[2:]]  # as a shell has it
    twice = [verb, str(mixed / "other-s0"), *command[1:]]
    for folders in (command, alone, twice):
        with pytest.raises(SystemExit) as end:
            main([*folders, "--like", study_runs[0].path.name])
        assert end.value.code == 0
        assert f"{len(study_runs)} of {len(study_runs) + 2} runs" in capsys.readouterr().out
    for like, message in (
        ("other", "'other' begins the names of 2 runs"),
        ("x", "no run among these, as --like has it, is called 'x'"),
    ):
        with pytest.raises(SystemExit) as end:
            main([*command, "--like", like])
        assert end.value.code == 1
        assert message in " ".join(capsys.readouterr().err.split())
