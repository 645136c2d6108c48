"""An optimizer that another package brings, on the command line, beside those of this one."""

import json

import pytest

from adana.cli import main
from adana.runs import find_runs
from tests.train.conftest import write_corpus
from tests.train.test_installed import SIGN

TINY = (
    *("--data", "corpus", "--vocab-size", "300", "--head-dim", "8", "--sequence-length", "32"),
    *("--batch-size", "4", "--eval-tokens", "512", "--device", "cpu", "--layers", "1"),
    *("--steps", "12"),
)


@pytest.fixture(autouse=True)
def _here(packages, tmp_path, monkeypatch):
    packages.install("signs", {"signs.py": SIGN}, {"sign": "signs:sign"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "140")
    write_corpus(tmp_path / "corpus")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return exit_.value.code


def test_it_is_compared_with_the_others_by_worker_processes(tmp_path, capsys):
    words = ("compare", "adamw", "sign", *TINY, "--jobs", "2", "--lr", "sign=1e-3", "adamw=8e-3")
    assert run(*words, "--seeds", "2", "--output", "report") == 0
    assert "sign" in capsys.readouterr().out
    content = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert "sign" in json.dumps(content)
    assert len(find_runs(tmp_path / "runs")) == 4


def test_a_search_and_the_command_that_it_ends_with(tmp_path, capsys):
    words = ("tune", "sign", *TINY, "--lr", "1e-3", "--parameters", "lr", "beta1")
    method = ("--noise-seeds", "0", "--max-passes", "1", "--jobs", "2")
    assert run(*words, *method) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "--optimizer sign --lr" in out
    (result,) = (tmp_path / "runs").glob("tune-sign-*/result.json")
    assert json.loads(result.read_text())


def test_without_a_rate_of_its_own_it_asks_for_one(capsys):
    assert run("train", "--optimizer", "sign", *TINY) == 2
    assert "--lr" in capsys.readouterr().err


def test_its_record_can_be_trained_again_but_not_with_other_code(packages, tmp_path, capsys):
    assert run("train", "--optimizer", "sign", "--lr", "1e-3", *TINY) == 0
    (first,) = find_runs(tmp_path / "runs")
    again = ("train", "--config", str(first.path), "--runs", "again", "--device", "cpu")
    assert run(*again) == 0
    packages.install("signs", {"signs.py": SIGN + "\nx = 1\n"}, {"sign": "signs:sign"})
    assert run(*again[:-4], "--runs", "third", "--device", "cpu") != 0
    assert "Changed code is another run" in " ".join(capsys.readouterr().err.split())
    assert run("train", "--optimizer", "sign", "--lr", "1e-3", *TINY) == 0
    assert len(find_runs(tmp_path / "runs")) == 2
    assert run("report", "runs", "--baseline", "sign", "--output", "report") != 0
    assert "whose code changed in between" in " ".join(capsys.readouterr().err.split())
