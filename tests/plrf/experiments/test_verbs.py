"""`adana plrf` as a user meets it: what it writes, what it says, how it exits."""

import re

import pytest

from adana.cli import main
from adana.cli.plrf import _ACTIONS

VERBS = (
    "risk", "phases", "kappa", "alpha-tilde", "frontier", "clock", "instability", "tau",
    "hummingbird", "theorems",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def adana(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(["plrf", *arguments])
    return exit_.value.code


def test_an_experiment_prints_what_it_found_and_writes_page_pictures_and_numbers(capsys, tmp_path):
    assert adana("kappa", "--dimension", "10000", "--steps", "10000", "--spacing", "0.2") == 0
    said = capsys.readouterr().out
    assert re.search(r"After 10,000 steps the best kappa is 0\.\d+", said)
    assert "The best kappa of each horizon" in said
    names = {path.name for path in (tmp_path / "plrf" / "kappa").iterdir()}
    assert names == {"kappa.html", "kappa.svg", "kappa.png", "kappa.csv", "kappa-best.csv"}


def test_steps_can_be_typed_as_the_pages_write_them(capsys):
    assert adana("kappa", "--dimension", "1e4", "--steps", "1e3", "--spacing", "0.2") == 0
    assert "After 1,000 steps the best kappa" in capsys.readouterr().out
    assert adana("kappa", "--steps", "1.5") == 2
    assert "no whole number" in capsys.readouterr().err


def test_a_folder_and_formats_can_be_chosen(tmp_path):
    small = ("--dimension", "1000", "--batches", "4", "--steps", "1000", "--runs", "0")
    assert adana("instability", *small, "--output", "here", "--images", "svg") == 0
    names = {path.name for path in (tmp_path / "here").iterdir()}
    assert {"instability.html", "instability.svg", "instability.csv"} <= names
    assert not any(name.endswith(".png") for name in names)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("risk", "--alpha", "0.3", "--beta", "0.1"), "take beta above 0.2"),
        (("kappa", "--alpha", "-1"), "alpha must be"),
        (("clock", "--alphas", "0.4"), "alphas must be"),
        (("kappa", "--steps", "10"), "steps must be at least 1000"),
        (("tau", "--experts", "1"), "experts must be"),
        (("clock", "--steps", "5"), "--steps must be"),
        (("risk", "--runs", "-1"), "runs must be"),
        (("risk", "--simulated-steps", "50"), "--simulated-steps must be"),
        (("frontier", "--compute", "1"), "--compute must be"),
        (("hummingbird", "--lr", "1", "1", "--dimension", "4"), "--lr must be different numbers"),
        (("kappa", "--gain", "-1"), "gain must be"),
        (
            ("kappa", "--gain", "1e9", "--dimension", "100"),
            "every kappa diverges before step 1,000",
        ),
        (("kappa", "--alpha", "50", "--dimension", "100"), "alpha must be at most 10 with 400"),
        (("risk", "--runs", "1"), "runs (unless 0) must be"),
        (("risk", "--alpha", "2.5"), "take a smaller --simulated-dimension, or runs = 0"),
        (("instability", "--alpha", "2.5", "--run-dimension", "500"), "a smaller --run-dimension"),
        (("risk", "--steps", "1e20", "--runs", "0"), "--steps must be"),
        (("phases", "--steps", "1e19"), "--steps must be"),
        (("clock", "--steps", "1e15"), "--steps must be"),
        (("frontier", "--compute", "inf"), "--compute must be a finite number in (1e+08, 1e+20]"),
        (("frontier", "--compute", "1e25"), "--compute must be"),
        (("frontier", "--smallest", "1e2", "--largest", "500"), "largest must be"),
        (("theorems", "--deltas", "0.5", "0.5"), "deltas must be different"),
        (("theorems", "--runs", "0"), "runs must be"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(capsys, tmp_path, arguments, words):
    assert adana(*arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "plrf").exists()


def test_what_cannot_be_written_is_refused_before_anything_is_computed(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert adana("hummingbird", "--output", "file/below") == 2
    assert "is a file, expected a folder" in capsys.readouterr().err


def test_an_experiment_that_is_stopped_says_that_nothing_is_kept(capsys, tmp_path, monkeypatch):
    def stopped(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr("adana.cli.plrf.kappa.kappa_experiment", stopped)
    assert adana("kappa") == 130
    assert "nothing was written, the same command begins again" in capsys.readouterr().err
    assert not (tmp_path / "plrf").exists()


def test_an_experiment_that_is_stopped_while_it_is_written_says_so(capsys, tmp_path, monkeypatch):
    def stopped(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr("adana.plrf.experiments.writer.save_static", stopped)
    assert adana("kappa", "--dimension", "100", "--steps", "1000", "--spacing", "0.2") == 130
    said = capsys.readouterr().err
    assert "plrf/kappa may be incomplete, the same command writes it anew" in said
    assert "nothing" not in said
    assert (tmp_path / "plrf" / "kappa" / "kappa.csv").exists()


def test_every_verb_of_the_issue_is_there_and_its_help_teaches(capsys):
    assert len(_ACTIONS) == len(VERBS)
    for verb in VERBS:
        assert adana(verb, "--help") == 0
        assert f"adana plrf {verb}" in " ".join(capsys.readouterr().out.split())
