"""The report as a file: whole, offline, and safe against what users write into it."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from adana.report import Comparison, compare, render, write_report
from adana.runs import Run, RunError, find_runs

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "wbr", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects what the tests ask about, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "data")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def html(comparison: Comparison) -> str:
    return render(comparison)


def test_the_page_parses_and_its_tags_are_closed(html: str) -> None:
    assert Page(html).open == []


def test_nothing_is_loaded_from_elsewhere(html: str) -> None:
    assert Page(html).addresses == ["data:,"]
    assert "default-src 'none'" in html
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"url\(|@import", style)
    assert not any("http" in script for script in Page(html).scripts if script.startswith("{"))


def test_the_library_is_in_the_page_once_and_the_page_stays_small(html: str) -> None:
    assert sum("vegaEmbed=" in script.replace(" ", "") for script in Page(html).scripts) == 1
    assert len(html) < 3_000_000


def test_tables_and_verdict_stand_without_javascript(html: str) -> None:
    text = Page(html).text
    for part in ("adana ends", "compute M", "diverged at step 400", "swept on seed 0", "66,001"):
        assert part in text


def test_settings_that_differ_are_told_from_those_that_are_shared(html: str) -> None:
    differing = html[html.index("What differs") : html.index("What all optimizers share")]
    assert "optimizer.lr" in differing
    assert "batch_size" not in differing


def test_a_hostile_label_is_text_everywhere(tmp_path: Path, write_run: Callable[..., Run]) -> None:
    for steps in (1000, 2000):
        write_run(tmp_path, "adamw", 0, steps=steps)
    write_run(tmp_path, HOSTILE, 0, steps=2000, gain=0.05)
    path = tmp_path / "report.html"
    write_report(compare(find_runs(tmp_path), "adamw"), path)
    text = path.read_text()
    assert HOSTILE not in text
    assert HOSTILE in Page(text).text
    specs = [json.loads(script) for script in Page(text).scripts if script.startswith("{")]
    assert any(HOSTILE in json.dumps(spec) for spec in specs)


def test_runs_without_metrics_still_give_a_page(
    tmp_path: Path, write_run: Callable[..., Run]
) -> None:
    run = write_run(tmp_path, "adamw", 0)
    (run.path / "metrics.jsonl").unlink()
    (run.path / "environment.json").unlink()
    page = Page(render(compare([run], "adamw")))
    assert page.scripts == []
    assert "Results" in page.text


def test_an_unwritable_place_leaves_no_half_report(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write"):
        write_report(comparison, tmp_path / "missing" / "report.html")
