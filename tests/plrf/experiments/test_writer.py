"""An experiment as files: the page holds what was found and loads nothing, CSV the numbers."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adana.plrf.experiments.charts import curve, guide, log_chart, vertical
from adana.plrf.experiments.result import (
    Plot,
    Result,
    points,
    power_of_ten,
    powers_of_ten,
    table,
    tracked,
)
from adana.plrf.experiments.writer import write_result
from adana.runs import RunError
from tests.report.browser import needs_browser
from tests.report.devtools import Tab
from tests.report.test_html import Page

ROWS = [
    {"method": "SGD", "T": 1000, "risk": 1.25e-4, "diverged": False, "best": None},
    {"method": "DANA <decaying>", "T": 1000, "risk": float("nan"), "diverged": True, "best": 0.5},
]
COLUMNS = dict.fromkeys(ROWS[0], "what it means")


def result() -> Result:
    steps = [10**k for k in range(6)]
    lines = curve("SGD", steps, [t**-0.8 for t in steps])
    lines += curve("DANA-decaying", steps, [t**-1.2 for t in steps])
    guides = guide("SGD", -0.8, (100.0, 0.03), (10.0, 1000.0), "slope -0.8")
    guides += vertical("SGD", 50.0, (1e-5, 1.0), "here")
    marks = [{"curve": "SGD", "x": 100, "y": 0.02, "low": 0.01, "high": 0.04}]
    chart = log_chart(
        lines, ["SGD", "DANA-decaying"], "step t", "risk P", guides=guides, marks=marks
    )
    return Result(
        name="demo",
        title="A title",
        about="What it is about.",
        settings={"alpha": "1"},
        findings=("The slope is <b>.",),
        plots=(Plot("demo", "Risk", "A caption.", chart),),
        tables=(table("demo-table", "A table", COLUMNS, ROWS),),
        data=(points("demo-points", "Points", [{"t": 1, "risk": 0.1}, {"t": 2, "risk": 0.01}]),),
    )


@pytest.mark.parametrize("slope", [-0.5, np.float64(-0.5), np.float64(0.5)])
@pytest.mark.parametrize("below", [False, True])
def test_every_guide_has_its_words_in_the_chart(slope, below):
    guides = guide("SGD", slope, (100.0, 0.03), (10.0, 1000.0), "slope of it", below=below)
    drawn = json.dumps(log_chart([], ["SGD"], "t", "P", guides=guides).to_dict())
    assert '"text": "slope of it"' in drawn
    assert '"type": "text"' in drawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo")
    assert write_result(result(), path) == path / "demo.html"
    return path


def test_every_table_chart_and_curve_is_a_file(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"demo.html", "demo.svg", "demo.png", "demo-table.csv", "demo-points.csv"}
    assert "A title" not in (folder / "demo.svg").read_text()
    assert "Risk" in (folder / "demo.svg").read_text()


def test_what_an_earlier_run_left_of_the_same_experiment_goes_and_the_rest_stays(
    tmp_path: Path,
) -> None:
    first = replace(result(), sometimes=("demo-more",))
    others = ("demo-more.csv", "demo-more.svg", "demo-mine.csv", "other.html", "demo.txt")
    for name in others:
        (tmp_path / name).write_text("")
    write_result(first, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "demo.html", "demo.svg", "demo.png", "demo-table.csv", "demo-points.csv", *others[2:],
    }  # fmt: skip
    write_result(first, tmp_path, images=("svg",))
    assert not (tmp_path / "demo.png").exists()


def test_a_folder_that_was_not_written_to_its_end_has_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_result(result(), tmp_path, images=("svg",))

    def stopped(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adana.plrf.experiments.writer.save_static", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_result(result(), tmp_path, images=("svg",))
    assert not (tmp_path / "demo.html").exists()


def test_csv_keeps_numbers_as_computed_and_leaves_unknown_fields_empty(folder: Path) -> None:
    with (folder / "demo-table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["SGD", "DANA <decaying>"]
    assert float(rows[0]["risk"]) == 1.25e-4
    assert rows[0]["best"] == ""
    with (folder / "demo-points.csv").open() as file:
        assert [float(row["risk"]) for row in csv.DictReader(file)] == [0.1, 0.01]


def test_the_page_stands_without_scripts_and_loads_nothing(folder: Path) -> None:
    page = Page((folder / "demo.html").read_text())
    assert page.open == []
    assert page.addresses == ["data:,"]
    for text in ("A title", "The slope is <b>.", "A caption.", "DANA <decaying>", "0.000125"):
        assert text in page.text


def test_cells_are_for_people() -> None:
    (first, second) = table("t", "T", COLUMNS, ROWS).cells
    assert first == ["SGD", "1,000", "0.000125", "no", "-"]
    assert second == ["DANA <decaying>", "1,000", "-", "yes", "0.5"]


def test_curves_leave_out_what_a_logarithmic_axis_cannot_show() -> None:
    rows = curve("x", [0, 1, 2, 3, 4], [1.0, 0.0, 2.0, float("nan"), 3.0])
    assert [(row["x"], row["y"]) for row in rows] == [(2, 2.0), (4, 3.0)]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    steps = list(range(1, 100_000))
    rows = curve("x", steps, [1 / t for t in steps])
    assert 100 <= len(rows) <= 160
    assert (rows[0]["x"], rows[-1]["x"]) == (1, 99_999)


def test_a_guide_has_its_slope() -> None:
    start, end, text = guide("x", -0.5, (100.0, 2.0), (1.0, 1e4), "half")
    assert (start["y"], end["y"]) == pytest.approx((20.0, 0.2))
    assert (text["x"], text["y"], text["text"]) == (100.0, 2.0, "half")


def test_horizons_and_their_names() -> None:
    assert powers_of_ten(1000, 10**5) == [1000, 10_000, 100_000]
    assert powers_of_ten(1000, 10_000, 2) == [1000, 3162, 10_000]
    assert powers_of_ten(1000, 99_999) == [1000, 10_000, 99_999]
    assert [power_of_ten(x) for x in (1000, 1e-4, 300)] == ["1e3", "1e-4", "300"]
    with pytest.raises(ValueError, match="at least 1000"):
        powers_of_ten(1000, 10)


def test_progress_is_told_of_every_item_within_its_part() -> None:
    told = []
    items = tracked("ab", lambda share, what: told.append((share, what)), str, (0.5, 1.0))
    assert list(items) == ["a", "b"]
    assert told == [(0.5, "a"), (0.75, "b")]


def test_unknown_images_and_unwritable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'svg', 'pdf', 'png'"):
        write_result(result(), tmp_path, images=("gif",))  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        write_result(result(), tmp_path / "file" / "below")


@needs_browser
def test_the_page_is_drawn_in_a_browser_at_any_width_without_complaints(
    folder: Path, tmp_path: Path
) -> None:
    tab = Tab(tmp_path / "profile")
    try:
        for width in (390, 1200):
            tab.open(folder / "demo.html", width)
            assert tab.ask("document.documentElement.scrollWidth") <= width
            lines = "document.querySelectorAll('.chart .mark-line path').length"
            assert tab.ask(lines) == 4  # two curves, a guide, an upright line
            assert tab.ask("document.querySelector('.chart svg').textContent.includes('here')")
        assert tab.complaints == []
    finally:
        tab.close()
