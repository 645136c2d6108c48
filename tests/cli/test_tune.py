"""`adana tune`: a real search over tiny trainings, its plan, and what it says when it is wrong."""

import json
import shlex

import pytest

from adana.cli import main
from adana.cli.tune import TuneArguments, scaled
from adana.runs import find_runs
from adana.tune import InProcess
from tests.train.conftest import write_corpus
from tests.tune.landscapes import Inline

TINY = [
    *("--heads", "1", "--head-dim", "8", "--layers", "1", "--sequence-length", "16"),
    *("--batch-size", "4", "--vocab-size", "300", "--eval-tokens", "256", "--omega", "1"),
    *("--device", "cpu", "--threads", "1", "--data", "corpus"),
]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _here(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "100")
    write_corpus(tmp_path / "corpus")


def adana(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


@pytest.fixture
def in_process(monkeypatch):
    """Train in this process: what workers do is tested in tests/tune."""
    monkeypatch.setattr("adana.cli.tune._runner", lambda workers: InProcess())


@pytest.mark.slow
def test_a_search_in_worker_processes_prints_every_loss(capsys, tmp_path, quick_workers):
    words = ("--steps", "12", "--parameters", "lr", "--lr", "0.01", "--noise-seeds", "2")
    assert adana("tune", "adana", *TINY, *words, "--jobs", "2") == 0
    said = capsys.readouterr().out
    assert "measuring the noise: baseline s1: " in said
    assert "pass 1: lr: lr=0.016: " in said
    assert "ETA 0:" in said


@pytest.mark.usefixtures("in_process")
def test_a_search_at_two_scales_ends_with_a_command_that_is_trained_already(capsys, tmp_path):
    words = ("tune", "adamw", *TINY, "--parameters", "lr", "--scales", "steps=12", "steps=24")
    words = (*words, "--lr", "0.01", "--noise-seeds", "0")
    assert adana(*words) == 0
    said = capsys.readouterr().out
    (file,) = tmp_path.glob("runs/tune-adamw-*/result.json")
    result = json.loads(file.read_text())
    assert [scale["scale"]["name"] for scale in result["scales"]] == ["steps=12", "steps=24"]
    assert result["scales"][1]["warm_start"] == "steps=12"
    assert result["budget"]["runs"] == len(find_runs(tmp_path / "runs"))
    assert result["budget"]["tokens"] > 0
    assert result["sensitivities"][0]["name"] == "lr"
    assert "thresholds: delta1" in said
    for command in result["commands"].values():
        assert command in said
    # The command is exact: its run is there, and is not trained again.
    before = len(find_runs(tmp_path / "runs"))
    assert adana(*shlex.split(result["commands"]["steps=24"])[1:]) == 0
    assert "already trained" in capsys.readouterr().out
    assert len(find_runs(tmp_path / "runs")) == before
    # The search goes on from its runs: nothing is left to do.
    assert adana(*words) == 0
    again = json.loads(file.read_text())
    assert again["budget"]["recalled"] == again["budget"]["runs"] == result["budget"]["runs"]
    assert again["scales"][1]["best_config"] == result["scales"][1]["best_config"]


def test_a_plan_shows_grids_and_cost_and_trains_nothing(capsys, tmp_path):
    assert adana("tune", "adamw", *TINY, "--steps", "100", "--lr", "0.01", "--plan") == 0
    said = capsys.readouterr().out
    for text in ("beta1", "0.9, 0.95, 0.98, 0.99", "runs, then up to", "tokens each", "hours of"):
        assert text in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "adamw", "--parameters", "kappa"], "adamw is not tuned in kappa; choose from"),
        (["tune", "sgd"], "unknown optimizer 'sgd'"),
        (["tune", "adamw", "--joint", "lr"], "--joint 'lr' is not a pair such as lr,omega"),
        (["tune", "adamw", "--scales", "size=3"], "expected NAME=VALUE of heads"),
        (["tune", "adamw", "--scales", "heads=x"], "'x' is no int"),
        (["tune", "adamw", "--jobs", "0"], "--jobs must be at least 1"),
        (["tune", "adamw", "--seeds", "0"], "seeds must be at least 1"),
        (["tune", "adamw", "--clip-snr", "1"], "clip_snr 1 was given, but adamw does not read it"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(capsys, tmp_path, words, message):
    assert adana(*words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_scale_changes_what_it_names_and_nothing_else():
    base = TuneArguments(optimizer="adana", heads=2, tokens_per_param=20.0)
    changed = scaled(base, "heads=4,steps=300")
    assert (changed.heads, changed.steps, changed.tokens_per_param) == (4, 300, None)
    assert scaled(base, "tokens-per-param=40").tokens_per_param == 40.0
    assert scaled(base, "") == base


def test_a_search_that_was_interrupted_says_so_and_goes_on(capsys, tmp_path, monkeypatch):
    words = ("tune", "adamw", *TINY, "--steps", "12", "--parameters", "final", "--lr", "0.01")
    words = (*words, "--noise-seeds", "0", "--max-passes", "1")
    monkeypatch.setattr("adana.cli.tune._runner", lambda workers: Inline(stop_after=2))
    assert adana(*words) == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    assert len(find_runs(tmp_path / "runs")) == 2
    assert not list(tmp_path.glob("runs/*/result.json"))
    rest = Inline()
    monkeypatch.setattr("adana.cli.tune._runner", lambda workers: rest)
    assert adana(*words) == 0
    assert rest.runs == len(find_runs(tmp_path / "runs")) - 2
    assert "(2 of them known before)" in capsys.readouterr().out
