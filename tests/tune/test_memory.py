"""What a search remembers: nothing runs twice, whenever it is killed."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adana.runs import write_json
from adana.tune import FunctionObjective, Result, spent_below, tune
from adana.tune.trial import config_key
from tests.tune.landscapes import SPACE, Inline, bowl

ROOT = Path(__file__).parents[2]


def test_the_key_of_a_configuration_does_not_depend_on_the_order_of_its_names():
    assert config_key({"a": 1, "b": 2.0}) == config_key({"b": 2.0, "a": 1})
    assert config_key({"a": 1}) != config_key({"a": 2})
    with pytest.raises(ValueError, match="plain JSON values"):
        config_key({"a": object()})


@pytest.mark.parametrize("last", [b'{"key"', b'"config": {', b"}", b'"loss": '])
def test_a_line_cut_short_by_a_kill_is_run_again(tmp_path, last):
    file = tmp_path / "trials.jsonl"
    runner = Inline()
    tune(bowl, SPACE, runner=runner, folder=tmp_path)
    *whole, cut = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(whole) + cut[: cut.index(last) + len(last)])
    again = Inline()
    tune(bowl, SPACE, runner=again, folder=tmp_path)
    assert again.runs == 1
    assert len(FunctionObjective(bowl, file)._known) == runner.runs


def test_a_line_that_is_no_result_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "trials.jsonl"
    file.write_text('{"loss": 1}\n')
    with pytest.raises(ValueError, match=r"line 1 of .*trials.jsonl is not a result"):
        FunctionObjective(bowl, file)


def test_divergence_is_remembered_and_a_crash_is_not(tmp_path):
    file = tmp_path / "trials.jsonl"
    objective = FunctionObjective(bowl, file)
    objective.record({"lr": 1.0}, Result(value=(float("nan"), 0.1)))
    objective.record({"lr": 2.0}, Result(error="RuntimeError: no disk"))
    again = FunctionObjective(bowl, file)
    assert again.recall({"lr": 1.0}).loss == float("inf")
    assert again.recall({"lr": 2.0}) is None


def test_the_result_on_disk_holds_what_was_found(tmp_path):
    result = tune(bowl, SPACE, runner=Inline(), folder=tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["best_config"] == result.best
    assert content["min_loss"] == result.loss
    assert content["near_optimal"] == {"lr": [0.004], "decay": [8.0]}
    assert [row["name"] for row in content["ablations"]] == ["lr", "decay"]
    assert content["passes"][0][0]["after"] == 0.004
    assert content["thresholds"]["delta1"] == 3e-3
    assert content["budget"]["runs"] == result.budget.runs


def test_what_searches_spent_counts_a_training_that_two_share_once(tmp_path):
    def leave(folder, optimizer, losses):
        trials = {key: {"loss": x, "seconds": 2.0, "tokens": 100} for key, x in losses.items()}
        scales = [{"trials": trials}]
        (tmp_path / folder).mkdir()
        write_json(tmp_path / folder / "result.json", {"optimizer": optimizer, "scales": scales})

    leave("tune-a", "adamw", {"a": 3.0, "b": math.inf})
    leave("tune-b", "adamw", {"b": math.inf, "c": 3.1})
    leave("tune-c", "adana", {"d": 3.0})
    tune(bowl, SPACE, runner=Inline(), folder=tmp_path / "tune-of-mine")  # names no optimizer
    spent = spent_below(tmp_path)
    assert spent.keys() == {"adamw", "adana"}
    own = spent["adamw"]
    assert (own.runs, own.diverged, own.tokens, own.device_seconds) == (3, 1, 300, 6.0)


def calls(folder):
    log = folder / "calls.jsonl"
    return log.read_text().splitlines() if log.exists() else []


def start(folder, **options):
    code = f"from tests.tune.landscapes import search; search({str(folder)!r})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ, **options)


@pytest.mark.slow
def test_a_search_killed_in_its_workers_goes_on_and_counts_every_evaluation_once(tmp_path):
    process = start(tmp_path, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while len(calls(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)  # until the last worker, which writes there too, has noticed
    begun = len(calls(tmp_path))
    kept = len(FunctionObjective(bowl, tmp_path / "trials.jsonl")._known)
    assert begun >= 2
    assert start(tmp_path).wait(timeout=240) == 0
    content = json.loads((tmp_path / "result.json").read_text())
    whole = Inline()
    expected = tune(bowl, SPACE, runner=whole)
    assert content["best_config"] == {**expected.best, "log": str(tmp_path / "calls.jsonl")}
    assert content["budget"]["runs"] == whole.runs
    assert len(set(calls(tmp_path))) == whole.runs
    # Twice ran only what the kill had cut off.
    assert len(calls(tmp_path)) == whole.runs + begun - kept
