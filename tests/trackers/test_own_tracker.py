"""A tracker that another installed package brings, by an entry point."""

import json
import sys

import pytest

from adana.trackers import Mirror, open_trackers, replay
from adana.trackers.registry import GROUP
from tests.trackers.test_mirror import CONFIG, ROWS, make_run

OURS = """
import json
from pathlib import Path

class Ours:
    name, forgets, queues = "ours", False, False

    def start(self, run_path, config, resume_step):
        self.file = Path(run_path) / "ours.jsonl"

    def log(self, row):
        with open(self.file, "a") as file:
            file.write(json.dumps(row) + chr(10))

    def finish(self, state, summary):
        pass

class Other(Ours):
    name = "another"

class Half:
    name, forgets = "half", False

def broken():
    raise OSError("no server")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package on the path as pip would, with these entry points."""

    def put(package, **points):
        folder = tmp_path / "site"
        about = folder / f"{package}-1.0.dist-info"
        about.mkdir(parents=True, exist_ok=True)
        (folder / "ours_tracking.py").write_text(OURS)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = ours_tracking:{what}" for name, what in points.items()]
        (about / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]) + "\n")
        if str(folder) not in sys.path:
            monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "ours_tracking", raising=False)

    return put


def test_it_gets_the_rows_of_a_run_as_the_others_do(install, tmp_path):
    install("ours", ours="Ours")
    run = make_run(tmp_path)
    mirror = Mirror(run, open_trackers(["ours"]))
    mirror.start(CONFIG)
    mirror.finish("finished")
    rows = [json.loads(line) for line in (run.path / "ours.jsonl").read_text().splitlines()]
    assert rows == ROWS
    assert replay(run, open_trackers(["ours"]), print) == ["ours"]


@pytest.mark.parametrize(
    ("name", "what", "said"),
    [
        ("half", "Half", r"it has no queues, start, log, finish: ours_tracking:Half must be a cl"),
        ("ours", "Other", r"calls itself 'another'; its `name` must be 'ours'"),
        ("ours", "broken", r"making ours_tracking:broken failed with OSError: no server"),
        ("ours", "Absent", r"making ours_tracking:Absent failed with AttributeError"),
    ],
)
def test_what_is_no_tracker_is_refused_by_name_and_package(install, name, what, said):
    install("ours", **{name: what})
    with pytest.raises(ValueError, match=said) as refused:
        open_trackers([name])
    assert "of ours 1.0" in str(refused.value)


def test_one_name_of_two_packages_is_refused(install):
    install("ours", ours="Ours")
    install("theirs", ours="Ours")
    with pytest.raises(ValueError, match=r"ours 1\.0 and theirs 1\.0 all bring a tracker 'ours'"):
        open_trackers(["ours"])


def test_an_unknown_name_lists_those_that_packages_bring(install):
    install("ours", ours="Ours")
    with pytest.raises(ValueError, match=r"expected one of tensorboard, wandb, trackio, ours, or"):
        open_trackers(["excel"])
