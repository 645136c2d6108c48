"""`compare --tuned`, `ladder run --tuned`: what searches found, on seeds that none of them saw."""

import contextlib
import json
import re
from pathlib import Path

import pytest

from adana.cli import main
from adana.ladder import Study, plan_seeds_and_horizons, read_bests
from adana.ladder.searched import carried, with_best
from adana.runs import find_runs, read_json, write_json
from adana.searches import read_search
from adana.train import config_from_dict
from adana.tune import InProcess
from tests.train.conftest import write_corpus

SMALL = (
    *("--data", "corpus", "--vocab-size", "300", "--head-dim", "8", "--sequence-length", "64"),
    *("--batch-size", "8", "--eval-tokens", "512", "--device", "cpu", "--layers", "1"),
    *("--steps", "12", "--seed", "3"),
)
QUICK = ("--noise-seeds", "2", "--delta1", "0", "--max-passes", "1")


def adana(*arguments):
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    return end.value.code


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder in which three optimizers were tuned, each in other hyperparameters."""
    folder = tmp_path_factory.mktemp("searched")
    write_corpus(folder / "corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ADANA_CACHE", str(folder / "cache"))
        patch.setattr(
            "adana.cli.tune.TuneArguments.build", lambda *_: contextlib.nullcontext(InProcess())
        )
        tuned = ("--parameters", "omega", "warmup_steps", "--lr", "0.02")
        assert adana("tune", "adamw", *SMALL, *QUICK, *tuned, "--final", "0.5") == 0
        assert adana("tune", "adana", *SMALL, *QUICK, "--parameters", "lr", "--kappa", "0.8") == 0
        muon = ("--parameters", "batch_size", "--lr", "0.02")
        assert adana("tune", "muon", *SMALL, *QUICK, *muon, "--warmup-steps", "4") == 0
    return folder


@pytest.fixture(autouse=True)
def _here(searched, monkeypatch):
    monkeypatch.chdir(searched)
    monkeypatch.setenv("ADANA_CACHE", str(searched / "cache"))
    monkeypatch.setenv("COLUMNS", "140")


def folder_of(optimizer):
    files = sorted(Path("runs").glob("tune-*/result.json"))
    (folder,) = [file.parent for file in files if read_json(file)["optimizer"] == optimizer]
    return folder


def best_of(optimizer):
    """The whole configuration of the best that a search found."""
    (config,) = read_json(folder_of(optimizer) / "result.json")["configs"].values()
    return config


def planned(runs=Path("runs")):
    return [run.config() for run in find_runs(runs)]


def compare(*arguments):
    return adana("compare", *arguments[:1], *SMALL, "--jobs", "2", *arguments[1:])


@pytest.fixture
def edited(tmp_path):
    """AdamW's search as if it had found other values, in another folder."""
    content = read_json(folder_of("adamw") / "result.json")
    (best,) = content["configs"].values()
    best["optimizer"].update(omega=2.0, beta1=0.8)
    best["schedule"].update(warmup_steps=3)  # of 12 steps
    (tmp_path / "search").mkdir()
    write_json(tmp_path / "search" / "result.json", content)
    return tmp_path / "search"


# --- at one size ----------------------------------------------------------------------------------


def test_each_gets_what_its_search_found_and_seeds_that_none_saw(tmp_path, capsys):
    folders, out = (folder_of("adamw"), folder_of("adana")), tmp_path / "report"
    both = ("adamw", "adana", "--seeds", "2", "--tuned", *folders, "--output", out)
    assert adana("compare", *both[:2], *SMALL, "--jobs", "2", *both[2:]) == 0
    assert "seeds from 5 on, which no search has trained" in capsys.readouterr().out  # not 3, 4
    runs = [config for config in planned() if config["seed"] >= 5]
    assert sorted((c["optimizer"]["name"], c["seed"]) for c in runs) == [
        ("adamw", 5), ("adamw", 6), ("adana", 5), ("adana", 6),
    ]  # fmt: skip
    for config in runs:
        best = best_of(config["optimizer"]["name"])
        for part in ("optimizer", "schedule", "clip"):  # tuned or held, all of it
            assert config[part] == best[part]
    held = {config["optimizer"]["name"]: config for config in runs}
    assert held["adana"]["optimizer"]["kappa"] == 0.8
    assert held["adamw"]["schedule"]["final"] == 0.5
    sources = json.loads((out / "comparison.json").read_text())["sources"]
    count = len(read_search(folders[0]).scales[0].trials)
    what = f"omega, warmup_steps tuned in {count} trainings ({folders[0]})"
    assert sources["adamw"].startswith(f"given on the command line; {what}")
    assert "limit" in sources["adamw"] or not read_search(folders[0]).scales[0].edges
    assert sources["adana"].startswith("lr tuned in")
    assert what in (out / "report.html").read_text()


def test_one_may_be_tuned_and_the_other_not(tmp_path, capsys):
    out = tmp_path / "report"
    arguments = ("--omega", "1", "--tuned", folder_of("adana"), "--seeds", "1", "--output", out)
    assert adana("compare", "adamw", "adana", *SMALL, "--jobs", "2", *arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"--omega 1 is for adamw; adana has what {folder_of('adana')} found (4)" in shown
    trained = {(c["optimizer"]["name"], c["optimizer"]["omega"], c["seed"]) for c in planned()}
    assert {("adamw", 1.0, 5), ("adana", 4.0, 5)} <= trained


def test_searches_for_others_are_left_out_and_said_to_be(capsys):
    (ours,) = read_bests([folder_of("muon"), folder_of("adana")], ["adana"], print).values()
    assert ours.name == "adana"
    assert f"left out: {folder_of('muon')}, a search for muon" in capsys.readouterr().out


def test_an_optimizer_without_any_law_is_compared_at_what_was_found(tmp_path, capsys):
    best = best_of("muon")
    size = ("--batch-size", best["batch_size"], "--steps", best["steps"], "--seeds", "1")
    tuned = ("--tuned", folder_of("muon"), "--output", tmp_path)
    assert compare("muon", *size, *tuned) == 0
    (config,) = [c for c in planned() if c["seed"] > 4 and c["optimizer"]["name"] == "muon"]
    assert config["optimizer"] == best["optimizer"]
    assert config["schedule"] == best["schedule"]  # at the batch that was found


def test_the_warm_up_stretches_with_the_horizon_and_decay_is_planned_for_it(edited):
    (scale,) = read_search(edited).scales
    base = config_from_dict(scale.config)
    best = with_best(base, read_search(edited), scale.config["data"]["fingerprint"])
    plan = plan_seeds_and_horizons({"adamw": best}, baseline="adamw", seeds=1, horizons=[0.5, 2.0])
    found = {c.steps: (c.schedule.warmup_steps, c.resolve().optimizer.horizon) for c in plan}
    assert found == {6: (2, 6), 12: (3, 12), 24: (6, 24)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("adana", "--tuned", "ADAMW"), "--tuned names no search for adana"),
        (("adamw", "--tuned", "ADAMW", "ADAMW"), "are both searches for adamw; name one of them"),
        (("adana", "--tuned", "ADANA", "--lr", "adana=1"), "--lr adana: its learning rate comes"),
        (("adana", "--tuned", "ADANA", "--sweep-lr", "3"), "--sweep-lr and --tuned both choose"),
        (("adana", "--tuned", "ADANA", "--steps", "13"), "steps is 12 there and 13 here. What tra"),
        (("adana", "--tuned", "ADANA", "--batch-size", "4"), "batch_size is 8 there and 4 here"),
        (("adana", "--tuned", "ADANA", "--schedule", "linear"), 'schedule.name is "cosine" there'),
        (("adana", "--tuned", "ADANA", "--vocab-size", "301"), "the tokens are others"),
        (
            ("adana", "--tuned", "ADANA", "--omega", "1"),
            "--omega 1: adana has what .* found \\(4\\)",
        ),
        (("adana", "--tuned", "ADANA", "--beta1", "0.5"), "adana do(es)? not read|leave"),
        (("adana", "--tuned", "nowhere"), "nowhere/result.json does not exist"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_trained(arguments, message, capsys):
    names = {"ADAMW": folder_of("adamw"), "ADANA": folder_of("adana")}
    before = len(planned())
    assert compare(*(str(names.get(a, a)) for a in arguments)) != 0
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error), error
    assert len(planned()) == before


def test_flags_that_say_what_was_found_are_no_contradiction(tmp_path):
    arguments = ("--kappa", "0.8", "--tuned", folder_of("adana"), "--seeds", "1")
    assert compare("adana", *arguments, "--output", tmp_path) == 0


# --- over sizes -----------------------------------------------------------------------------------

LADDER = (
    *("ladder", "run", "--preset", "smoke", "--data", "corpus", "--vocab-size", "300"),
    *("--heads", "1", "2", "--head-dim", "8", "--rates", "1", "--seeds", "1", "--device", "cpu"),
    *("--optimizers", "adamw", "adana"),
)


def test_a_ladder_carries_what_was_found_to_every_size(edited, tmp_path, capsys):
    tuned = ("--tuned", edited, folder_of("adana"))
    assert adana(*LADDER, *tuned, "--runs", tmp_path / "ladder", "--jobs", "2") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "cosine to 0.1 of the peak, but for what searches found" in shown
    assert "adamw: omega 2, warmup 25 %, tuned at" in shown
    assert "adana: only the learning rate was tuned, which the ladder sweeps itself" in shown
    assert "seeds from 5 on, which no search has trained" in shown
    runs = planned(tmp_path / "ladder")
    assert len(runs) == 4
    for config in runs:
        ours = config["optimizer"]["name"] == "adamw"
        assert config["seed"] == 5
        assert config["optimizer"]["omega"] == (2.0 if ours else 4.0)
        assert config["optimizer"]["kappa"] == (0.85 if ours else 0.8)  # held in its search
        assert config["optimizer"]["horizon"] == config["steps"]
        assert config["optimizer"].get("beta1") == (0.8 if ours else None)
        assert config["schedule"]["final"] == (0.5 if ours else 0.1)
        share = config["schedule"]["warmup_steps"] / config["steps"]
        assert share == pytest.approx(0.25 if ours else 0.02, abs=0.03)
    (folder,) = (tmp_path / "ladder").glob("ladder-smoke-*")
    page = (folder / "report" / "report.html").read_text()
    assert "adana against adamw: 2 sizes" in page
    shared = page[page.index("Settings that all runs share") :]
    assert "provenance.omega" not in shared
    assert adana("report", folder, "--output", tmp_path / "again") == 0


def test_the_folder_of_a_ladder_does_not_depend_on_where_its_searches_are(edited, tmp_path):
    def key(folder):
        search = read_search(folder)
        config = config_from_dict(search.scales[0].config)
        found = carried(config, search, search.scales[0].config["data"]["fingerprint"])
        return Study(optimizers=("adamw",), tuned={"adamw": found}).key("tokens")

    before = key(edited)
    assert key(edited.rename(tmp_path / "elsewhere")) == before
    assert Study(optimizers=("adamw",)).key("tokens") != before


def test_a_ladder_of_other_trainings_than_the_search_is_refused(capsys):
    other = ["301" if word == "300" else word for word in LADDER]
    assert adana(*other, "--tuned", folder_of("adana"), "--plan") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "was not a search of such trainings" in error
    assert "the tokens are others" in error
    laptop = ["laptop" if word == "smoke" else word for word in LADDER]
    assert adana(*laptop, "--tuned", folder_of("adana"), "--plan") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "batch_size is 8 there and 16 here" in error
    assert "sequence_length is 64 there and 128 here" in error
