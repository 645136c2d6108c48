"""The page of a study: whole and offline as a file, and usable in a real browser."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adana.report import Study, read_study, render_study, study_charts, write_study
from adana.report.study_page import title
from adana.runs import Run, find_runs

from .browser import needs_browser, pixels
from .devtools import Tab
from .test_html import HOSTILE, Page

COMMAND = "adana ladder run --preset smoke --seeds 2"
PHONE, DESKTOP = 375, 1200
PAPER = 717  # A4 between the margins that Chromium prints with


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "made" / "by it"
    write_study(study, folder, command=COMMAND)
    return folder


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "report.html").read_text()


# --- as a file ------------------------------------------------------------------------------------


def test_the_page_parses_and_loads_nothing_from_elsewhere(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert all(address.startswith(("#", "data:,")) for address in page.addresses)
    assert "default-src 'none'" in html
    assert not any("http" in script for script in page.scripts if script.startswith("{"))
    assert len(html) < 3_000_000


def test_every_anchor_of_the_page_is_there(html: str) -> None:
    anchors = [address for address in Page(html).addresses if address.startswith("#")]
    assert anchors
    assert all(f'id="{anchor[1:]}"' in html for anchor in anchors)


def test_the_findings_stand_without_javascript(html: str, study: Study) -> None:
    text = Page(html).text
    for part in (
        "adana needs less compute than adamw",
        "the learning rate with the lowest mean final loss",
        "1 of 25 runs diverged",
        "Not varied in these runs, so nothing is known of it here: omega.",
        COMMAND,
        "packages.torch" if "packages" in study.records[0].environment else "0.1.0",
    ):
        assert part in text


def test_the_title_calls_a_shape_no_number_of_parameters(study: Study) -> None:
    assert title(study).endswith(" parameters")
    scales = [dataclasses.replace(scale, parameters=None) for scale in study.scales]
    bare = title(dataclasses.replace(study, scales=tuple(scales)))
    assert "parameters" not in bare
    assert "width 64 to width 512" in bare
    mixed = dataclasses.replace(study, scales=(*study.scales[:1], *scales[1:]))
    assert title(mixed).endswith(f": {study.scales[0].name} parameters")


def test_the_loss_is_drawn_for_every_size_and_each_chart_has_words(study: Study) -> None:
    names = list(study_charts(study))
    assert {"loss", "multiplier", "curves", "rates", "cost", "sensitivity-kappa"} <= set(names)
    assert [name for name in names if name.startswith("bowl-")] == [f"bowl-{i}" for i in range(4)]
    assert len([name for name in names if name.startswith("schedule-")]) == 5


def test_a_hostile_label_and_command_are_text(
    tmp_path: Path, write_run: Callable[..., Run]
) -> None:
    write_run(tmp_path, "adamw", 0, lr=0.1, final=3.0)
    write_run(tmp_path, HOSTILE, 0, lr=0.1, final=3.0)
    write_run(tmp_path, HOSTILE, 0, lr=0.2, final=3.0)
    text = render_study(read_study(find_runs(tmp_path), "adamw"), command=HOSTILE)
    assert HOSTILE not in text
    assert HOSTILE in Page(text).text


def test_runs_without_any_loss_still_give_a_page(
    tmp_path: Path, write_run: Callable[..., Run]
) -> None:
    for lr in (0.1, 0.2):
        write_run(tmp_path, "adamw", 0, lr=lr, final=9.0, state="diverged", stop=200)
    text = Page(render_study(read_study(find_runs(tmp_path), "adamw"))).text
    assert "2 of 2 runs diverged" in text
    assert "no run of these has finished" in text


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    tab = Tab(tmp_path_factory.mktemp("profile"))
    yield tab
    tab.close()


@needs_browser
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_every_chart_is_drawn_without_a_complaint_and_nothing_is_cut_off(
    tab: Tab, folder: Path, study: Study, tmp_path: Path, width: int
) -> None:
    """The picture is kept in the folder ADANA_ARTIFACTS, for eyes."""
    tab.complaints.clear()
    tab.open(folder / "report.html", width)
    drawn = tab.ask("document.querySelectorAll('.chart svg.marks').length")
    assert drawn == len(study_charts(study))
    assert tab.complaints == []
    assert tab.ask("document.documentElement.scrollWidth") == width
    kept = os.environ.get("ADANA_ARTIFACTS")
    place = Path(kept) if kept else tmp_path
    place.mkdir(parents=True, exist_ok=True)
    picture = tab.picture(place / f"study-{width}.png")
    assert len(pixels(picture.read_bytes())) > 1000


@needs_browser
@pytest.mark.parametrize(("width", "whole"), [(1300, True), (PHONE, False)])
def test_a_wide_table_takes_the_room_there_is_and_says_if_it_scrolls(
    tab: Tab, folder: Path, width: int, whole: bool
) -> None:
    tab.open(folder / "report.html", width)
    table = "document.querySelector('#results .scroll')"
    cells = f"{table}.querySelectorAll('td.number')"
    tab.ask(f"[...{cells}].forEach((cell) => cell.textContent = '1.42 (0.66 to')")
    assert tab.ask(f"{table}.clientWidth > document.querySelector('h1').clientWidth") == whole
    assert tab.ask(f"{table}.scrollWidth <= {table}.clientWidth") == whole
    assert "linear-gradient" in tab.ask(f"getComputedStyle({table}).backgroundImage")


@needs_browser
def test_every_picture_and_every_chart_has_words_for_those_who_do_not_see_it(
    tab: Tab, folder: Path
) -> None:
    tab.open(folder / "report.html", DESKTOP)
    said = "[...document.querySelectorAll('{}')].map((c) => c.getAttribute('aria-label'))"
    titles = tab.ask(said.format(".chart"))
    texts = tab.ask(said.format(".chart [role=graphics-document]"))
    assert len(titles) == len(texts)
    for heading, text in zip(titles, texts, strict=True):
        assert text.startswith(f"{heading}. ")
        assert len(text) > len(heading) + 40
    assert tab.ask("document.documentElement.lang") == "en"
    assert tab.ask("[...document.querySelectorAll('th')].every((cell) => cell.scope)")


@needs_browser
def test_the_keyboard_reaches_all_that_can_be_used(tab: Tab, folder: Path) -> None:
    tab.open(folder / "report.html", DESKTOP)
    tab.press("Tab")
    assert tab.ask("document.activeElement.className") == "skip"
    assert tab.ask("document.activeElement.getBoundingClientRect().left") >= 0
    reached = set()
    for _ in range(100):
        tab.press("Tab")
        reached.add(
            tab.ask("((e) => e.dataset.label || e.hash || e.tagName)(document.activeElement)")
        )
    assert {"adamw", "adana", "#results", "#budget", "SUMMARY", "DIV"} <= reached


@needs_browser
def test_a_button_leaves_an_optimizer_out_of_all_charts(tab: Tab, folder: Path) -> None:
    tab.open(folder / "report.html", DESKTOP)
    orange = "document.querySelectorAll('#chart-loss svg .mark-line path[stroke=\"#d55e00\"]')"
    assert tab.ask(f"{orange}.length") > 0
    tab.ask("document.querySelector('button[data-label=adana]').focus()")
    tab.press("Enter")
    wait = "new Promise((done) => setTimeout(done, 500))"
    tab.ask(wait)
    assert tab.ask("document.querySelector('[data-label=adana]').ariaPressed") == "false"
    assert tab.ask(f"[...{orange}].filter((p) => p.getAttribute('d')).length") == 0
    tab.press("Enter")
    tab.ask(wait)
    assert tab.ask(f"{orange}.length") > 0


@needs_browser
def test_paper_shows_whole_tables_and_no_controls(tab: Tab, folder: Path) -> None:
    tab.open(folder / "report.html", PAPER)
    tab.call("Emulation.setEmulatedMedia", media="print")
    hidden = "(s) => getComputedStyle(document.querySelector(s)).display"
    for what in ("nav", ".toggles", ".chart details"):
        assert tab.ask(f"({hidden})('{what}')") == "none"
    assert tab.ask("getComputedStyle(document.querySelector('#results table')).display") == "table"
    assert tab.ask("document.documentElement.scrollWidth") == PAPER, "a table is cut off"
    tab.call("Emulation.setEmulatedMedia", media="")
    assert tab.pdf().startswith(b"%PDF")
