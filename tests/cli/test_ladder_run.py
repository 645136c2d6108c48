"""`adana ladder run` as a user meets it: the plan, the trainings, going on, and the record."""

import json
import re

import pytest

from adana.cli import main
from adana.runs import find_runs
from tests.train.conftest import write_corpus

SMALL = (
    *("--preset", "smoke", "--data", "corpus", "--vocab-size", "300", "--heads", "1", "2"),
    *("--optimizers", "adamw", "adana", "--rates", "2", "--seeds", "2"),
    *("--tokens-per-param", "0.5", "--device", "cpu", "--jobs", "2"),
)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    write_corpus(tmp_path / "corpus")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["ladder", "run", *SMALL, *arguments])
    return exit_.value.code


def test_a_plan_shows_sizes_rates_and_time_and_trains_nothing(tmp_path, capsys):
    assert run("--plan") == 0
    out = capsys.readouterr().out
    assert "T = floor(0.5 N / (8 x 64))" in out
    assert "adamw: grid of 2 rates by factors of 2 around the demo's tuned rate 0.0106" in out
    assert re.search(r"Total: 16 trainings, .*; about .* at \d a time", " ".join(out.split()))
    assert find_runs(tmp_path / "runs") == []


def test_an_optimizer_stands_beside_itself_with_other_values(tmp_path, capsys):
    own = "adana:kappa=0.9,omega=8"
    rates = ("--lr", "adana:omega=8,kappa=0.90=0.004", "--rates", "1", "--seeds", "1")
    assert run("--optimizers", "adana", own, *rates) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{own}: grid of 1 rates by factors of 2 around the given 0.004" in out
    assert "kappa 0.85 where there is one, cosine to 0.1 of the peak, but for what names say" in out
    optimizers = [r.config()["optimizer"] for r in find_runs(tmp_path / "runs")]
    assert sorted((o["label"], o["kappa"], o["omega"]) for o in optimizers) == [
        *[("adana", 0.85, 4.0)] * 2,
        *[(own, 0.9, 8.0)] * 2,
    ]
    (page,) = (tmp_path / "runs").glob("*/report/report.html")
    assert "adana:<wbr>kappa=0.9,<wbr>omega=8" in page.read_text()


def test_how_long_a_cluster_takes_is_not_said(capsys, monkeypatch):
    jobs = SMALL.index("--jobs")
    monkeypatch.setattr(f"{__name__}.SMALL", SMALL[:jobs] + SMALL[jobs + 2 :])
    assert run("--plan", "--engine", "ray") == 0
    assert "how long that takes depends on the cluster" in " ".join(capsys.readouterr().out.split())


def test_a_ladder_is_trained_once_and_recorded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("adana.cli.progress.MANY", 7)  # where trainings are counted
    assert run("--seeds", "1") == 0
    first = capsys.readouterr().out
    runs = find_runs(tmp_path / "runs")
    assert len(runs) == 8
    assert all(r.finished for r in runs)
    (folder,) = (tmp_path / "runs").iterdir()
    record = json.loads((folder / "study.json").read_text())
    assert sorted(record["runs"]) == [r.name for r in runs]
    assert record["study"]["tokens_per_param"] == 0.5
    assert "[8/8]" in first

    before = {r.path: (r.path / "summary.json").stat().st_mtime_ns for r in runs}
    assert run("--seeds", "1") == 0
    out = capsys.readouterr().out
    assert "reusing 8 finished runs" in out
    assert "all trained already" in out
    assert before == {path: (path / "summary.json").stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    ("arguments", "widths"),
    [
        (("--model", "qwen3", "--heads", "1", "2", "--head-dim", "8"), [8, 16]),
        (("--model", "lstm", "--width", "8", "12"), [8, 12]),
    ],
)
def test_a_ladder_of_another_family(arguments, widths, tmp_path, monkeypatch):
    heads = SMALL.index("--heads")
    small = (*SMALL[:heads], *SMALL[heads + 3 :], "--rates", "1", "--seeds", "1")
    monkeypatch.setattr(f"{__name__}.SMALL", small)
    more = ("--sequence-length", "32", "--batch-size", "4", "--schedule", "linear")
    assert run(*arguments, *more, "--precision", "bfloat16", "--micro-batch", "2") == 0
    configs = [found.config() for found in find_runs(tmp_path / "runs")]
    assert len(configs) == 4
    for config in configs:
        assert config["model"]["family"] == arguments[1]
        assert config["model"]["sequence_length"] == 32
        assert config["batch_size"] == 4
        assert config["schedule"]["name"] == "linear"
        assert config["precision"] == "bfloat16"
        assert config["layout"]["micro_batch"] == 2
    models = [config["model"] for config in configs]
    found = [m.get("width") or m["heads"] * m["head_dim"] for m in models]
    assert sorted(set(found)) == widths
    (folder,) = (tmp_path / "runs").iterdir()
    page = (folder / "report" / "report.html").read_text()
    assert "adana against adamw: 2 sizes" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lr", "muon=1"), "--lr 'muon=1' names nothing that is compared"),
        (("--seeds", "0"), "a study's seeds must be at least 1"),
        (("--engine", "ray"), "--jobs 2 does not go with --engine ray"),
        (("--width", "8"), "--width does not go with --model enoki"),
        (("--model", "lstm"), "--heads does not go with --model lstm"),
        (("--jobs", "0"), "--jobs must be at least 1"),
        (("--runs", "corpus/a.txt"), "--runs corpus/a.txt is a file"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_read(arguments, message, capsys, tmp_path):
    (tmp_path / "corpus" / "a.txt").write_text("text")
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_the_time_left_is_told_by_measured_seconds(monkeypatch):
    costs = []

    def train_all(planned, jobs, folder, console, where, step_cost):
        costs.extend(step_cost(p.config) for p in planned)
        return 130

    monkeypatch.setattr("adana.cli.ladder.run.train_all", train_all)
    monkeypatch.setattr(
        "adana.cli.ladder.run.likely_seconds", lambda config, say: config.model.heads
    )
    assert run() == 130
    assert sorted(set(costs)) == [1, 2]
