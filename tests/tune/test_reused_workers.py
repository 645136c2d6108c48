"""Workers live on from job to job, and no job can tell that another one was there before."""

import os
import pickle
from pathlib import Path

import pytest

from adana.ladder import job_payload, plan_run, run_job
from adana.runs import Run
from adana.tune import LocalEngine
from adana.tune.process import JOBS_OF_A_WORKER, Worker
from tests.train.conftest import corpus, shards, tiny_config  # noqa: F401  (fixtures)
from tests.train.results import assert_same_end

from .jobs import leave_traces, misbehave, process_id, see, square

pytestmark = pytest.mark.usefixtures("quick_workers")


def values(results):
    assert not any(result.error for result in results.values()), results
    return {name: result.value for name, result in results.items()}


def test_one_process_does_many_jobs_over_several_batches():
    with LocalEngine(workers=1) as engine:
        first = values(engine.run(process_id, {str(i): None for i in range(20)}))
        second = values(engine.run(process_id, {"again": None}))
        (worker,) = engine.idle
    assert set(first.values()) | set(second.values()) == {worker.process.pid}
    assert worker.process.exitcode == 0


def test_a_failed_job_is_the_last_of_its_worker():
    with LocalEngine(workers=1) as engine:
        engine.run(misbehave, {"a": "raise"})
        assert engine.idle == []


def test_a_worker_that_died_between_two_batches_is_replaced():
    with LocalEngine(workers=1) as engine:
        engine.run(square, {"a": 1})
        engine.idle[0].process.kill()
        engine.idle[0].process.join()
        assert values(engine.run(square, {"b": 2})) == {"b": 4}


def test_what_a_job_changes_in_its_process_the_next_one_does_not_see():
    with LocalEngine(workers=1) as engine:
        before = values(engine.run(see, {"fresh": None}))["fresh"]
        pid = values(engine.run(leave_traces, {"a": os.fspath(Path(__file__).parent)}))["a"]
        assert values(engine.run(see, {"reused": None}))["reused"] == before
        assert before["pid"] == pid


@pytest.mark.parametrize("trace", ["thread", "device"])
def test_a_worker_with_traces_that_cannot_be_wiped_is_replaced(trace):
    with LocalEngine(workers=1) as engine:
        values(engine.run(leave_traces, {"a": trace}))
        assert engine.idle == []


def test_no_two_jobs_draw_the_same_unseeded_numbers():
    with LocalEngine(workers=1) as engine:
        drawn = values(engine.run(draw, {str(i): None for i in range(5)}))
    assert len(set(drawn.values())) == 5


def draw(payload, emit):
    import random  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    return random.random(), float(np.random.random())


def test_a_worker_is_replaced_when_it_is_worn_or_holds_much_memory():
    worker = Worker.__new__(Worker)
    for jobs, memory, spent in (
        (1, 2**20, False),
        (JOBS_OF_A_WORKER, 2**20, True),
        (1, 2**40, True),
    ):
        worker.jobs, worker.spent = jobs, False
        worker.wiped("", memory)
        assert worker.spent == spent


def test_a_training_ends_with_the_same_bits_in_a_reused_worker_as_in_a_fresh_one(
    corpus,  # noqa: F811
    shards,  # noqa: F811
    tmp_path,
):
    other = tiny_config(corpus, steps=6, seed=3)
    config = tiny_config(corpus)
    runs = {}
    with LocalEngine(workers=1) as engine:
        for name, each in (("other", other), ("reused", config)):
            planned = plan_run(each, tmp_path / name, shards.fingerprint)
            payload = job_payload(planned, shards.folder)
            values(engine.run(run_job, {name: pickle.loads(pickle.dumps(payload))}))
            values(engine.run(leave_traces, {"traces": os.fspath(tmp_path)}))
            runs[name] = planned.run
        assert engine.idle[0].jobs == 4
    with LocalEngine(workers=1) as engine:
        planned = plan_run(config, tmp_path / "fresh", shards.fingerprint)
        values(engine.run(run_job, {"fresh": job_payload(planned, shards.folder)}))
    assert_same_end(Run(runs["reused"].path), planned.run)
