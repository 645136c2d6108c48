"""`adana report` on the runs of a study."""

from pathlib import Path

import pytest

from adana.cli import main
from adana.runs import Run


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
