"""The report in a real browser: every chart is drawn, and something is to be seen."""

import re
from pathlib import Path

import pytest

from adana.report import Comparison, all_charts, write_report

from .browser import browse, dom, drawing, needs_browser, pixels

pytestmark = needs_browser


@pytest.fixture(scope="module")
def page(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(comparison, path)
    return path


def test_every_chart_is_drawn_without_an_error(
    comparison: Comparison, page: Path, tmp_path: Path
) -> None:
    body = dom(tmp_path, page)
    for name in all_charts(comparison):
        drawn = drawing(body, name)
        assert re.search(r'<svg[^>]* class="marks"', drawn), f"the chart {name} was not drawn"
        assert drawn.count("<path") > 3
    assert 'class="missing' not in body


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_is_not_blank(page: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    browse(tmp_path / "profile", page, f"--screenshot={picture}", f"--window-size={width},2400")
    assert len(pixels(picture.read_bytes())) > 500
