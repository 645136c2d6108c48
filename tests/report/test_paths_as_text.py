"""Functions that write or read files take paths as text too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adana.ladder.rule_files import read_rules, write_rules
from adana.report import (
    Comparison,
    Study,
    find_run,
    list_runs,
    save_static,
    validation_chart,
    write_report,
    write_study,
)
from adana.runs import Run


def test_reports_charts_lists_and_rules(
    comparison: Comparison,
    study: Study,
    tmp_path: Path,
    write_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_report(comparison, "report.html")
    assert write_study(study, "study", images=()) == Path("study/report.html")
    chart = validation_chart(comparison)
    assert chart is not None
    save_static(chart, "loss.svg")
    assert Path("loss.svg").exists()
    run = write_run(Path("runs"), "adamw", 0)
    assert [listing.name for listing in list_runs("runs")] == [run.name]
    assert find_run("runs", "adamw").path == run.path
    write_rules("rules.json", [])
    with pytest.raises(ValueError, match=r"rules\.json has no rules"):
        read_rules("rules.json")
