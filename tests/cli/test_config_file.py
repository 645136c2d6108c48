"""`adana train --config` where the text of the run is gone, or is another one now."""

import shutil
from pathlib import Path

import pytest

from adana.cli import main
from adana.data import entries
from adana.runs import find_runs
from tests.train.conftest import write_corpus

TINY = [
    *("--heads", "1", "--head-dim", "8", "--layers", "1", "--sequence-length", "16"),
    *("--batch-size", "4", "--steps", "4", "--vocab-size", "300", "--eval-tokens", "256"),
    *("--device", "cpu", "--threads", "1", "--lr", "0.01"),
]


def adana(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def change():
    Path("corpus/new.txt").write_text("something else entirely\n" * 500)


LOST = pytest.mark.parametrize(
    ("lose", "says"),
    [(lambda: shutil.rmtree("corpus"), "does not exist any more"), (change, "has changed since")],
)


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A run, and the cache with its tokens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "400")
    write_corpus(tmp_path / "corpus")
    assert adana("train", "--data", "corpus", *TINY) == 0
    (run,) = find_runs(tmp_path / "runs")
    return run


@LOST
def test_a_run_goes_on_from_its_tokens_where_its_text_cannot_give_them(
    begun, tmp_path, capsys, lose, says
):
    lose()
    (entry,) = entries(tmp_path / "cache")
    before = (begun.path / "config.json").read_bytes()
    capsys.readouterr()
    for where in ([], ["--run", str(begun.path)]):
        assert adana("train", "--config", str(begun.path), *where) == 0
        out = capsys.readouterr().out
        assert "already trained" in out
        assert f"as --data {entry.key} does" in out
        assert says in out
    assert (begun.path / "config.json").read_bytes() == before
    assert len(find_runs(tmp_path / "runs")) == 1


@LOST
def test_it_is_repeated_elsewhere_with_the_same_record_and_result(begun, tmp_path, lose, says):
    lose()
    assert adana("train", "--config", str(begun.path), "--runs", "again") == 0
    (again,) = find_runs(tmp_path / "again")
    assert again.name == begun.name
    assert again.config()["data"] == begun.config()["data"]
    assert again.summary()["val_loss"] == begun.summary()["val_loss"]


def lose_tokens(tmp_path):
    for entry in entries(tmp_path / "cache"):
        shutil.rmtree(entry.folder)


def test_without_its_tokens_it_is_refused_as_ever(begun, tmp_path, capsys):
    change()
    lose_tokens(tmp_path)
    assert adana("train", "--config", str(begun.path), "--runs", "again") == 1
    assert "is not what --config was made for" in capsys.readouterr().err
    shutil.rmtree("corpus")
    assert adana("train", "--config", str(begun.path), "--runs", "again") == 2
    err = capsys.readouterr().err
    assert "'corpus' does not exist any more, and its tokens (fingerprint" in err
    assert "--data" not in err, "which --config does not go with"


def test_flags_that_a_key_fills_in_are_not_said_to_be_given(begun, tmp_path, capsys):
    (entry,) = entries(tmp_path / "cache")
    assert adana("train", "--config", str(begun.path), "--data", entry.key) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "so --data cannot be given beside it" in err


@LOST
def test_a_trunk_can_be_branched_where_its_text_cannot_give_the_tokens(
    begun, tmp_path, capsys, lose, says
):
    flat = ("--schedule", "constant", "--run", "runs/trunk", "--keep-every", "2")
    assert adana("train", "--data", "corpus", *TINY, *flat) == 0
    lose()
    capsys.readouterr()
    assert adana("branch", "trunk", "--steps", "4", "--cooldown", "0.5") == 0
    assert says in capsys.readouterr().out
