"""`compare --tuned`, `ladder run --tuned`: what searches found, on seeds that none of them saw."""

import contextlib
import json
import re
from pathlib import Path

import pytest

from adana.cli import main
from adana.runs import find_runs, read_json, write_json
from adana.tune import InProcess
from tests.train.conftest import write_corpus

SMALL = (
    *("--data", "corpus", "--vocab-size", "300", "--head-dim", "8", "--sequence-length", "64"),
    *("--batch-size", "4", "--eval-tokens", "512", "--device", "cpu", "--layers", "1"),
    *("--steps", "12", "--seed", "3"),
)


def adana(*arguments):
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    return end.value.code


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder in which AdamW was tuned in two hyperparameters and ADana in one."""
    folder = tmp_path_factory.mktemp("searched")
    write_corpus(folder / "corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ADANA_CACHE", str(folder / "cache"))
        patch.setattr(
            "adana.cli.tune.TuneArguments.build", lambda *_: contextlib.nullcontext(InProcess())
        )
        rules = ("--noise-seeds", "2", "--delta1", "0", "--max-passes", "1")
        tuned = ("--parameters", "omega", "beta1", "warmup_steps", "--lr", "0.02")
        assert adana("tune", "adamw", *SMALL, *rules, *tuned) == 0
        assert adana("tune", "adana", *SMALL, *rules, "--parameters", "lr") == 0
    return folder


@pytest.fixture(autouse=True)
def _here(searched, monkeypatch):
    monkeypatch.chdir(searched)
    monkeypatch.setenv("ADANA_CACHE", str(searched / "cache"))
    monkeypatch.setenv("COLUMNS", "140")


def folder_of(optimizer):
    (folder,) = [f.parent for f in searched_results() if read_json(f)["optimizer"] == optimizer]
    return folder


def searched_results():
    return sorted(Path("runs").glob("tune-*/result.json"))


def test_each_gets_what_its_search_found_and_seeds_that_none_saw(tmp_path, capsys):
    folders = folder_of("adamw"), folder_of("adana")
    arguments = ("compare", "adamw", "adana", *SMALL, "--jobs", "2", "--lr", "adamw=0.02")
    out = tmp_path / "report"
    assert adana(*arguments, "--tuned", *folders, "--seeds", "2", "--output", out) == 0
    shown = capsys.readouterr().out
    assert "seeds from 5 on, which no search has trained" in shown  # 3 and 4 measured the noise
    runs = [run.config() for run in find_runs(Path("runs")) if run.config()["seed"] >= 5]
    assert sorted((c["optimizer"]["name"], c["seed"]) for c in runs) == [
        ("adamw", 5), ("adamw", 6), ("adana", 5), ("adana", 6),
    ]  # fmt: skip
    found = {f.name: read_json(f / "result.json")["scales"][0] for f in folders}
    assert any(own["best_config"] != own["start"] for own in found.values())
    for config in runs:
        name = config["optimizer"]["name"]
        best = found[folder_of(name).name]["best_config"]
        own = config["optimizer"]
        assert own["lr"] == best.get("lr", 0.02)
        assert own["omega"] == best.get("omega", 4.0)
        assert own.get("beta1") in (best.get("beta1"), None)  # None: the optimizer's own default
    page = (out / "report.html").read_text()
    count = len(found[folders[0].name]["trials"])
    assert f"omega, beta1, warmup_steps tuned in {count} trainings ({folders[0]})" in page


def test_one_may_be_tuned_and_the_other_not(tmp_path, capsys):
    arguments = ("compare", "adamw", "adana", *SMALL, "--jobs", "2", "--seeds", "1")
    out = tmp_path / "report"
    assert adana(*arguments, "--tuned", folder_of("adana"), "--output", out) == 0
    assert "lr tuned in" in json.loads((out / "comparison.json").read_text())["sources"]["adana"]
    seeds = [run.config()["seed"] for run in find_runs(Path("runs")) if "adamw" in run.name]
    assert 5 in seeds  # both are trained with the same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("adana", "--tuned", "ADAMW"), "is a search for adamw, which is not compared"),
        (("adamw", "--tuned", "ADAMW", "ADAMW"), "are both searches for adamw; name one of them"),
        (("adana", "--tuned", "ADANA", "--lr", "adana=1"), "--lr adana=1: its learning rate comes"),
        (("adana", "--tuned", "ADANA", "--sweep-lr", "3"), "--sweep-lr and --tuned both choose"),
        (("adana", "--tuned", "ADANA", "--steps", "13"), "did not search at .* tokens, but at"),
        (
            ("adana", "--tuned", "ADANA", "--schedule", "linear"),
            "on other data or with another kind",
        ),
        (("adana", "--tuned", "nowhere"), "nowhere/result.json does not exist"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_trained(arguments, message, capsys):
    names = {"ADAMW": folder_of("adamw"), "ADANA": folder_of("adana")}
    before = len(find_runs(Path("runs")))
    first = arguments[0]
    rest = [str(names.get(a, a)) for a in arguments[1:]]
    assert adana("compare", first, *SMALL, "--jobs", "1", *rest) != 0
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error), error
    assert len(find_runs(Path("runs"))) == before


def test_a_tuned_batch_size_that_others_do_not_have_is_refused(tmp_path, capsys):
    content = read_json(folder_of("adana") / "result.json")
    own = content["scales"][0]
    own["best_config"]["batch_size"] = 8
    own["ablations"].append({**own["ablations"][0], "name": "batch_size"})
    write_json(tmp_path / "result.json", content)
    assert adana("compare", "adana", *SMALL, "--tuned", tmp_path) != 0
    error = " ".join(capsys.readouterr().err.split())
    assert "found batch size 8, and a comparison has one for all, here 4" in error


LADDER = (
    *("ladder", "run", "--preset", "smoke", "--data", "corpus", "--vocab-size", "300"),
    *("--heads", "1", "2", "--head-dim", "8", "--rates", "1", "--seeds", "1", "--device", "cpu"),
    *("--optimizers", "adamw", "adana"),
)


def test_a_ladder_carries_what_was_found_to_every_size(tmp_path, capsys):
    content = read_json(folder_of("adamw") / "result.json")
    own = content["scales"][0]
    own["best_config"].update(omega=2.0, beta1=0.8, warmup_steps=3)  # of 12 steps
    (tmp_path / "search").mkdir()
    write_json(tmp_path / "search" / "result.json", content)
    tuned = ("--tuned", tmp_path / "search", folder_of("adana"))
    assert adana(*LADDER, *tuned, "--runs", tmp_path / "ladder", "--jobs", "2") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "adamw: omega 2, beta1 0.8, warm-up 25 % of the steps, tuned at" in shown
    assert "seeds from 5 on, which no search has trained" in shown
    runs = [run.config() for run in find_runs(tmp_path / "ladder")]
    assert len(runs) == 4
    for config in runs:
        tuned = config["optimizer"]["name"] == "adamw"
        assert config["seed"] == 5
        assert config["optimizer"]["omega"] == (2.0 if tuned else 4.0)
        assert config["optimizer"].get("beta1") == (0.8 if tuned else None)
        share = config["schedule"]["warmup_steps"] / config["steps"]
        assert share == pytest.approx(0.25 if tuned else 0.02, abs=0.03)
    (page,) = (tmp_path / "ladder").rglob("report.html")
    assert "adana against adamw: 2 sizes" in page.read_text()


def test_a_ladder_on_other_data_than_the_search_is_refused(capsys):
    other = ["301" if word == "300" else word for word in LADDER]
    assert adana(*other, "--tuned", folder_of("adana"), "--plan") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "was a search on other data or with another kind of model" in error
