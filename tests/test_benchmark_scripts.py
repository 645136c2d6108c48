"""Every script in `benchmarks/` still runs: at sizes that measure nothing, to its last line.

They are run by hand, and those for a GPU seldom; `benchmarks/step.py` has tests of its own.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SMALL_MODEL = ("--heads", "1", "--layers", "1", "--vocab", "64", "--tokens", "8", "--rounds", "1")

SCRIPTS = {
    "train_loop": (
        ("--heads", "1", "--head-dim", "16", "--vocab-size", "300", "--batch-size", "2"),
        ("--sequence-length", "32", "--threads", "1", "--steps", "1", "--rounds", "2"),
        ("--device", "cpu"),
        "engine / plain, by the wall clock",
    ),
    "kill": (("--kills", "2", "--steps", "40"), "nothing differs"),
    "loss_memory": (
        ("--tokens", "64", "--vocab", "300", "--width", "16", "--chunk", "16", "--rounds", "1"),
        ("--device", "cpu"),
        "plain loop",
    ),
    "gradient_release": (SMALL_MODEL, "ADana, released"),
    "offload": ((*SMALL_MODEL, "--device", "cpu", "--threads", "1"), "states"),
    "engine_overhead": (("--jobs", "5", "--workers", "1"), "ms a job over 5 jobs"),
    "plrf": (
        ("--dimension", "20", "--hidden", "40", "--steps", "10", "--rounds", "2"),
        "integrate: ",
    ),
    "laws": ("| broken law",),
    "data_throughput": (("--rounds", "1", "--megabytes", "1", "--tokens", "100000"), "tokens"),
    "state_codes": (("--steps", "20", "--width", "2", "--out", "codes"), "20 steps, 2 coordinates"),
}
"""Arguments, and what the output is to have, by the name of the script."""
APART = {"step", "ray_overhead", "state_training"}
"""Scripts with tests of their own, for a library, and for hours."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_to_its_last_line(name, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("ADANA_CACHE", str(cache))
    *arguments, expected = SCRIPTS[name]
    words = [word for some in arguments for word in some]
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


@pytest.mark.slow
def test_the_parts_of_a_session_on_a_gpu_are_run_and_kept(tmp_path):
    here = {"PYTHON": sys.executable, "DEVICE": "cpu", "TINY": "1", "OUT": str(tmp_path / "out")}
    session = functools.partial(
        subprocess.run, capture_output=True, text=True, check=False, env={**os.environ, **here}
    )
    done = session([FOLDER / "on_gpu.sh", "memory"])
    assert done.returncode == 0, done.stdout + done.stderr
    kept = {path.stem: path.read_text() for path in (tmp_path / "out").glob("*.txt")}
    assert kept.keys() == {"loss", "offload", "release"}
    assert "chunked" in kept["loss"]
    hurried = {**os.environ, **here, "LIMIT": "0.1"}
    failed = session([FOLDER / "on_gpu.sh", "memory"], env=hurried)
    assert failed.returncode == 1
    assert "failed or cut off: loss offload release" in failed.stdout
    assert session([FOLDER / "on_gpu.sh", "all"]).returncode == 2


def test_no_script_is_forgotten():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SCRIPTS) | APART


@pytest.mark.parametrize("name", sorted(APART | set(SCRIPTS)))
def test_its_help_says_what_it_measures(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert text.startswith('"""')
    assert f"python benchmarks/{name}.py" in text.split('"""')[1]
