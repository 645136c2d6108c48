"""Preparing a corpus of this machine needs nothing but it and the cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        print(event, arguments, file=sys.stderr, flush=True)
        os._exit(9)  # an exception might be caught

sys.addaudithook(refuse)
if sys.argv[1] == "connect":
    import socket
    socket.create_connection(("127.0.0.1", 9))
from adana.cli import main
main(tuple(sys.argv[1:]))
"""


def run_alone(folder, *arguments):
    """Run a program that ends with exit code 9 if it wants a network, its home an empty folder."""
    home = folder / "home"
    home.mkdir()
    unset = ("XDG_", "HF_", "TORCH", "PYTHON")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unset)}
    places = {"HOME": str(home), "ADANA_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM, *arguments],
        env={**kept, **places, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    return done, sorted(str(path.relative_to(home)) for path in home.rglob("*"))


@pytest.mark.slow
def test_preparing_uses_no_network_and_leaves_nothing_at_home(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(30):
        text = " ".join(f"word{number * i}" for i in range(60))
        (corpus / f"{number}.txt").write_text(text)
    done, left = run_alone(tmp_path, "data", "prepare", "corpus", "--vocab-size", "280")
    assert done.returncode == 0, done.stderr
    assert left == []
    assert len(list((tmp_path / "cache").glob("*/manifest.json"))) == 1


def test_the_check_itself_notices_a_connection(tmp_path):
    done, _ = run_alone(tmp_path, "connect")
    assert done.returncode == 9
    assert "socket.getaddrinfo" in done.stderr
