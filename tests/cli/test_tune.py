"""`adana tune` as a user meets it: the plan, the search, going on, and what it leaves."""

import contextlib
import json
import re
import shlex
from html import escape

import pytest

from adana.cli import main
from adana.cli.commands import train_words
from adana.cli.settings import Settings
from adana.cli.tune_sizes import scaled
from adana.ladder import with_hyperparameters
from adana.runs import Run, find_runs
from adana.tune import InProcess
from tests.train.conftest import write_corpus
from tests.tune.landscapes import Inline

SMALL = (
    *("--data", "corpus", "--vocab-size", "300", "--head-dim", "8", "--sequence-length", "32"),
    *("--batch-size", "4", "--eval-tokens", "512", "--device", "cpu", "--jobs", "2"),
    *("--layers", "1", "--steps", "12"),
)
SEARCH = ("--parameters", "lr", "final", "--noise-seeds", "0", "--max-passes", "1")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _here(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "140")
    write_corpus(tmp_path / "corpus")


def run_by(monkeypatch, runner):
    """Let a runner of the tests take the place of the engine."""
    held = contextlib.nullcontext(runner)
    monkeypatch.setattr("adana.cli.tune.TuneArguments.build", lambda *_: held)


@pytest.fixture
def in_process(monkeypatch):
    """Train in this process: what workers do is tested in tests/tune."""
    run_by(monkeypatch, InProcess())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["tune", *arguments])
    return exit_.value.code


def test_a_plan_shows_grids_and_budget_and_trains_nothing(tmp_path, capsys):
    assert (
        run("adana", *SMALL, "--parameters", "lr", "kappa", "--scales", "1", "2x3", "--plan") == 0
    )
    out = capsys.readouterr().out
    assert "0.004 [0.008] 0.016 0.032" in out
    assert "0.75 0.8 [0.85] 0.9" in out
    assert "2 heads, 3x tokens" in out
    assert "carried to other sizes by the shape" in out  # where the rate comes from
    # One baseline, three other rates and kappas, two more seeds for the noise here and at the end.
    assert [line.split()[-4] for line in out.splitlines() if "at most 6" in line]
    assert f"{11 * 36 * 4 * 32:,}" in out  # eleven runs of 3 x 12 steps
    assert find_runs(tmp_path / "runs") == []


@pytest.mark.usefixtures("in_process")
def test_a_search_is_trained_once_and_ends_with_the_command_of_the_best(tmp_path, capsys):
    assert run("adana", *SMALL, *SEARCH) == 0
    out = capsys.readouterr().out
    (file,) = (tmp_path / "runs").glob("tune-adana-*/result.json")
    result = json.loads(file.read_text())
    own = result["scales"][0]
    runs = find_runs(tmp_path / "runs")
    assert own["budget"]["runs"] == len(runs)
    losses = [r.summary()["val_loss"] for r in runs if r.finished]
    assert own["min_loss"] == pytest.approx(min(losses), abs=own["thresholds"]["delta1"])
    assert "delta1 0.003" in out

    (command,) = result["commands"].values()
    assert command in out
    page = file.with_name("search.html").read_text()
    assert escape(command) in page
    assert f"found in {len(runs)} trainings" in page
    before = {r.path for r in runs}
    with pytest.raises(SystemExit) as exit_:
        main([*shlex.split(command)[1:]])
    assert exit_.value.code == 0
    assert {r.path for r in find_runs(tmp_path / "runs")} == before  # it was trained already
    assert "already trained" in capsys.readouterr().out

    assert run("adana", *SMALL, *SEARCH) == 0
    again = json.loads(file.read_text())["scales"][0]
    assert again["budget"]["recalled"] == again["budget"]["runs"] == len(before)
    assert again["min_loss"] == own["min_loss"]


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_several_sizes_tell_what_is_sensitive_and_warm_up_the_next_search(tmp_path, capsys):
    first = ("--parameters", "final", "--delta1", "5", "--delta2", "9", "--noise-seeds", "0")
    assert run("adamw", *SMALL, *first, "--scales", "1", "1x2") == 0
    assert "insensitive" in capsys.readouterr().out
    assert run("adamw", *SMALL, *first, "--scales", "2") == 0
    results = [json.loads(f.read_text()) for f in (tmp_path / "runs").glob("tune-*/result.json")]
    (last,) = (r for r in results if len(r["scales"]) == 1)
    assert last["scales"][0]["warm_start"] == "1 head"
    assert all(Run(r.path).finished for r in find_runs(tmp_path / "runs"))


def results(tmp_path):
    """Return the results of all searches by their folder's name."""
    files = (tmp_path / "runs").glob("tune-*/result.json")
    return {file.parent.name: json.loads(file.read_text()) for file in files}


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_search_does_not_begin_from_that_of_an_optimizer_whose_name_begins_alike(
    tmp_path, capsys
):
    words = ("--lr", "0.01", "--parameters", "final", "--noise-seeds", "0", "--max-passes", "1")
    for optimizer, size in (("adana-released", "1"), ("adana", "2"), ("adana", "1x2")):
        assert run(optimizer, *SMALL, *words, "--scales", size) == 0
    assert "Spent on tuning, all searches together" in capsys.readouterr().out
    begun = {
        (found["optimizer"], own["scale"]["name"]): own["warm_start"]
        for found in results(tmp_path).values()
        for own in found["scales"]
    }
    assert begun == {
        ("adana-released", "1 head"): "",
        ("adana", "2 heads"): "",
        ("adana", "1 head, 2x tokens"): "2 heads",
    }


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_more_passes_go_on_with_the_same_search_whatever_was_searched_between(tmp_path):
    words = ("adamw", *SMALL, "--parameters", "lr", "--noise-seeds", "0")
    first = (*words, "--scales", "1", "--lr", "0.001", "--max-passes", "1")
    assert run(*first) == 0
    ((folder, before),) = results(tmp_path).items()
    kept = tmp_path / "runs" / folder / "began_with.json"
    bytes_before = kept.read_bytes()
    assert run(*words, "--scales", "2", "--lr", "0.016", "--max-passes", "1") == 0
    assert run(*first[:-1], "3") == 0
    after = results(tmp_path)
    assert len(after) == 2
    assert kept.read_bytes() == bytes_before
    old, new = before["scales"][0], after[folder]["scales"][0]
    assert new["start"] == old["start"]
    assert new["warm_start"] == ""
    assert new["trials"].keys() >= old["trials"].keys()


@pytest.mark.usefixtures("in_process")
def test_weight_decay_over_epochs_reaches_the_search_and_the_command_has_it_as_omega(
    tmp_path, capsys
):
    words = ("--parameters", "final", "--noise-seeds", "0", "--max-passes", "1", "--lr", "0.01")
    assert run("adamw", *SMALL, *words, "--tau-epochs", "0.05") == 0
    runs = find_runs(tmp_path / "runs")
    (omega,) = {r.config()["optimizer"]["omega"] for r in runs}
    (tokens,) = re.findall(r"([\d,]+) training and", capsys.readouterr().out)
    assert omega == pytest.approx(12 * 4 * 32 / int(tokens.replace(",", "")) / 0.05)
    (found,) = results(tmp_path).values()
    (command,) = found["commands"].values()
    assert "--tau-epochs" not in command
    with pytest.raises(SystemExit) as exit_:
        main([*shlex.split(command)[1:]])
    assert exit_.value.code == 0
    assert "already trained" in capsys.readouterr().out
    assert len(find_runs(tmp_path / "runs")) == len(runs)


@pytest.mark.parametrize(("batch", "cooldown", "micro"), [(32, 150, 16), (8, 600, 8)])
def test_the_command_of_another_batch_has_the_cooldown_and_micro_batch_it_was_trained_with(
    batch, cooldown, micro
):
    settings = Settings(schedule="wsd", cooldown_steps=300, micro_batch=16)
    base = settings.train_config(settings.optimizer_config("adamw", 0.01))
    words = train_words(settings, with_hyperparameters(base, {"batch_size": batch})).split()
    for flag, value in (("batch-size", batch), ("cooldown-steps", cooldown)):
        assert words[words.index(f"--{flag}") + 1] == str(value)
    assert words[words.index("--micro-batch") + 1] == str(micro)


@pytest.mark.slow
def test_a_search_in_worker_processes_prints_every_loss(capsys):
    assert run("adana", *SMALL, "--parameters", "lr", "--lr", "0.01", "--noise-seeds", "2") == 0
    out = capsys.readouterr().out
    assert "measuring the noise" in out
    assert "lr=0.016: loss " in out
    assert "ETA 0:" in out
    assert "delta1 = 6.31 sigma sqrt(2 / 1)" in out


def test_a_search_that_was_interrupted_says_so_and_goes_on(tmp_path, capsys, monkeypatch):
    words = ("adamw", *SMALL, "--parameters", "final", "--noise-seeds", "0", "--max-passes", "1")
    run_by(monkeypatch, Inline(stop_after=2))
    assert run(*words) == 130
    assert "Stopped. The same command goes on where it was." in capsys.readouterr().out
    assert len(find_runs(tmp_path / "runs")) == 2
    assert not list(tmp_path.glob("runs/*/result.json"))
    rest = Inline()
    run_by(monkeypatch, rest)
    assert run(*words) == 0
    assert rest.runs == len(find_runs(tmp_path / "runs")) - 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lion",), "unknown optimizer 'lion'"),
        (("lion", "--parameters", "lr", "--tau-epochs", "1"), "unknown optimizer 'lion'"),
        (("adamw", "--parameters", "kappa"), "adamw is not tuned in kappa"),
        (("adamw", "--joint", "lr"), "--joint 'lr' is not a pair of two names such as lr,omega"),
        (("adamw", "--scales", "2", "2"), "names a size twice"),
        (("adamw", "--scales", "big"), "is not HEADS, HEADSxFACTOR"),
        (("adamw", "--scales", "2x0"), "'0' is no number above 0"),
        (("log-muon",), "no rule gives a learning rate for log-muon to begin with: pass one"),
        (("adamw", "--clip-snr", "2"), "clip_snr 2 was given, but adamw does not read it"),
        (("adamw", "--jobs", "0"), "--jobs must be at least 1"),
        (("adamw", "--jobs", "2", "--engine", "ray"), "--jobs 2 does not go with --engine ray"),
        (("adamw", "--schedule", "constant", "--parameters", "final"), "constant has no `final`"),
        (("adamw", "--seeds", "0"), "seeds must be at least 1"),
        (("adamw", "--delta1", "2", "--delta2", "1"), "expected 0 <= delta1 <= delta2"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_trained(arguments, message, capsys, tmp_path):
    assert run(*arguments, *SMALL[-2:]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("", {}),
        ("3", {"heads": 3}),
        ("3x4", {"heads": 3, "steps": 4800}),
        ("heads=3,steps=7", {"heads": 3, "steps": 7}),
        ("tokens-per-param=20", {"tokens_per_param": 20.0}),
    ],
)
def test_a_size_is_heads_more_tokens_or_settings(text, changes):
    own = scaled(Settings(), text)
    assert {name: getattr(own, name) for name in changes} == changes


def test_more_tokens_of_a_budget_by_parameters_are_more_for_each():
    assert scaled(Settings(tokens_per_param=20.0), "2x4").tokens_per_param == 80.0
