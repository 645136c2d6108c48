"""The report in a real browser: every chart is drawn, and something is to be seen."""

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from adana.report import Comparison, all_charts, write_report

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium or google-chrome on PATH to open the report with"
)


def browse(profile: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(BROWSER),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--virtual-time-budget=15000",
        f"--user-data-dir={profile}",
        *options,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def pixels(png: bytes) -> set[bytes]:
    """Return the distinct scan lines of a PNG, still filtered: enough to tell a blank page."""
    width, _, depth, color = struct.unpack(">IIBB", png[16:26])
    channels = {2: 3, 6: 4}[color]
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    raw, line = zlib.decompress(data), 1 + width * channels * depth // 8
    return {raw[i : i + line] for i in range(0, len(raw), line)}


@pytest.fixture(scope="module")
def page(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(comparison, path)
    return path


def test_every_chart_is_drawn_without_an_error(
    comparison: Comparison, page: Path, tmp_path: Path
) -> None:
    result = browse(tmp_path, page, "--dump-dom")
    body = result.stdout[: result.stdout.index('<script type="application/json"')]
    for name in all_charts(comparison):
        start = body.index(f'id="chart-{name}"')
        drawing = body[start : body.index("<figcaption", start)]
        assert re.search(r'<svg[^>]* class="marks"', drawing), f"the chart {name} was not drawn"
        assert drawing.count("<path") > 3
    assert 'class="missing' not in body
    complaints = [line for line in result.stderr.splitlines() if ":CONSOLE" in line]
    assert complaints == []


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_is_not_blank(page: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    browse(tmp_path / "profile", page, f"--screenshot={picture}", f"--window-size={width},2400")
    assert len(pixels(picture.read_bytes())) > 500
