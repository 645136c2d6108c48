"""A page in a real browser: what it draws, what it complains about, how it looks."""

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium or google-chrome on PATH to open pages with"
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


def dom(profile: Path, page: Path) -> str:
    """Return the body as it is after its scripts ran, which must have had nothing to complain."""
    result = browse(profile, page, "--dump-dom")
    assert [line for line in result.stderr.splitlines() if ":CONSOLE" in line] == []
    return result.stdout[: result.stdout.index('<script type="application/json"')]


def drawing(body: str, name: str) -> str:
    """Return what was drawn in the place of one chart."""
    start = body.index(f'id="chart-{name}"')
    return body[start : body.index("<figcaption", start)]


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
