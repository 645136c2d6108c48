"""Workers are used again, and nothing of one job is seen by the next."""

import itertools
import os
import signal
import time

import pytest

from adana.runs import Run
from adana.tune import Limits, LocalEngine
from adana.tune.memory import available_memory
from tests.train.conftest import tiny_config, write_corpus
from tests.train.results import assert_same_end

from . import jobs

pytestmark = pytest.mark.usefixtures("quick_workers")


def pid(payload, emit):
    return os.getpid()


def place(folder, emit):
    """Say which process and GPU this is, once both jobs of a pair run."""
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


def test_jobs_are_spread_over_the_gpus_and_a_worker_keeps_its_own(tmp_path):
    found = []
    with LocalEngine(2, gpus=("3", "GPU-5f")) as engine:
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            results = engine.run(place, dict.fromkeys("ab", tmp_path / str(number)))
            found.append({result.value for result in results.values()})
    assert {gpu for _, gpu in found[0]} == {"3", "GPU-5f"}
    assert found[0] == found[1] == found[2]


def test_jobs_see_all_gpus_unless_told_otherwise():
    with LocalEngine(1) as engine:
        seen = engine.run(gpus_seen, {"a": None})["a"]
    assert (seen.error, seen.value) == ("", os.environ.get("CUDA_VISIBLE_DEVICES"))


def gpus_seen(payload, emit):
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_a_job_that_leaves_a_thread_does_not_keep_the_engine_waiting_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("adana.tune.local.PATIENCE", 0.2)
    with LocalEngine(1) as engine:
        left = engine.run(jobs.leave_a_thread_that_keeps_its_process, {"a": tmp_path / "outlived"})
        assert left["a"].error == ""
        assert not (tmp_path / "outlived").exists(), "the engine waited for the thread"
        assert engine.run(jobs.square, {"b": 3})["b"].value == 9


def test_the_death_of_a_job_is_seen_while_a_process_that_it_started_lives(tmp_path, monkeypatch):
    monkeypatch.setattr("adana.tune.local.PATIENCE", 0.2)
    with LocalEngine(1) as engine:
        result = engine.run(jobs.die_before_its_child, {"a": tmp_path / "outlived"})["a"]
    assert "SIGKILL" in result.error
    assert not (tmp_path / "outlived").exists(), "the engine waited for the child"


def test_a_job_may_start_processes_of_its_own():
    with LocalEngine(1) as engine:
        result = engine.run(jobs.have_a_child, {"a": 5})["a"]
    assert (result.error, result.value) == ("", 25)


def test_one_worker_serves_many_jobs_and_several_batches():
    with LocalEngine(1) as engine:
        first = engine.run(pid, dict.fromkeys("abc"))
        second = engine.run(pid, dict.fromkeys("de"))
    assert len({result.value for result in (*first.values(), *second.values())}) == 1


def test_a_closed_engine_leaves_no_worker():
    with LocalEngine(1) as engine:
        worker = engine.run(pid, {"a": None})["a"].value
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_an_idle_worker_that_is_killed_is_replaced():
    with LocalEngine(1) as engine:
        before = engine.run(pid, {"a": None})["a"].value
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while any(worker.process.is_alive() for worker in engine._idle):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        after = engine.run(pid, {"a": None})["a"]
    assert after.error == ""
    assert after.value != before


def test_a_job_finds_the_process_as_if_it_were_new():
    with LocalEngine(1) as engine:
        results = engine.run(jobs.spoil, {str(i): i for i in range(3)})
    found = [result.value[0] for result in results.values()]
    drawn = [result.value[1] for result in results.values()]
    assert found[1] == found[2] == found[0]
    assert found[0]["dtype"] == "torch.float32"
    assert found[0]["grad"]
    assert found[0]["handler"]
    assert drawn[1] != drawn[2], "the seeds of a job reached the next one"


@pytest.mark.parametrize(
    ("job", "payload"),
    [(jobs.ask_itself_to_stop, None), (jobs.leave_a_thread, None), (jobs.grow, 2**25)],
)
def test_a_worker_that_cannot_be_as_new_is_not_used_again(job, payload):
    with LocalEngine(1, limits=Limits(growth=2**24)) as engine:
        used = engine.run(job, {"a": payload})["a"].value
        assert engine.run(pid, {"b": None})["b"].value != used


def test_a_worker_is_replaced_after_so_many_jobs():
    with LocalEngine(1, limits=Limits(jobs=2)) as engine:
        served = [r.value for r in engine.run(pid, dict.fromkeys("abcde")).values()]
    assert [len(list(group)) for _, group in itertools.groupby(served)] == [2, 2, 1]


def test_a_worker_whose_job_failed_is_replaced():
    with LocalEngine(1) as engine:
        before = engine.run(pid, {"a": None})["a"].value
        assert engine.run(jobs.misbehave, {"b": "raise"})["b"].error
        assert engine.run(pid, {"c": None})["c"].value != before


def test_a_training_has_the_same_bits_in_a_used_worker_as_in_a_new_one(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    shards = jobs.shards_of(corpus, tmp_path / "cache")
    config = tiny_config(corpus)

    def payload(name):
        return jobs.training(config, shards, tmp_path / name)

    with LocalEngine(1) as engine:
        assert not engine.run(jobs.train_job, {"new": payload("new")})["new"].error
        engine.run(jobs.spoil, {"spoil": 1})
        assert not engine.run(jobs.train_job, {"used": payload("used")})["used"].error
    assert_same_end(Run(tmp_path / "used"), Run(tmp_path / "new"))


def test_a_job_killed_in_company_is_tried_again_alone(tmp_path):
    said = []
    payloads = {name: (tmp_path, name, name == "a") for name in "abcd"}
    with LocalEngine(2, say=said.append) as engine:
        results = engine.run(jobs.die_in_company, payloads)
    assert {name: result.value for name, result in results.items()} == {n: n for n in "abcd"}
    last = float((tmp_path / "a").read_text().split()[1])
    assert all(float((tmp_path / n).read_text().split()[-1]) < last for n in "bcd")
    assert len(said) == 1
    assert "a: its process was killed" in said[0]
    assert "alone" in said[0]


def test_a_job_killed_again_when_alone_has_failed_with_a_hint(tmp_path):
    payloads = {"a": (tmp_path, "a", "always"), "b": (tmp_path, "b", False)}
    with LocalEngine(2, say=lambda text: None) as engine:
        results = engine.run(jobs.die_in_company, payloads)
    assert results["b"].value == "b"
    assert "memory" in results["a"].error
    assert len((tmp_path / "a").read_text().split()) == 2


def test_no_more_jobs_run_at_a_time_than_memory_holds():
    said = []
    most = available_memory()
    if most is None:
        pytest.skip("this system does not say how much memory is available")
    with LocalEngine(2, memory_per_job=int(most * 0.7), say=said.append) as engine:
        results = engine.run(jobs.span, dict.fromkeys("abc", 0.1))
    spans = sorted(result.value for result in results.values())
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert len(said) == 1
    assert said[0].startswith("1 of 2 jobs at a time: ")


def test_a_memory_of_nothing_is_refused():
    with pytest.raises(ValueError, match="memory_per_job must be at least 1 byte, got 0"):
        LocalEngine(1, memory_per_job=0)


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_any_control_group_counts_and_its_file_cache_does_not(tmp_path, version):
    proc, groups = tmp_path / "proc", tmp_path / "sys/fs/cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 800 kB\n")
    assert available_memory(tmp_path) == 800 * 1024
    if version == 2:
        (proc / "self/cgroup").write_text("0::/outer/inner\n")
        limit, used, cache = "memory.max", "memory.current", "inactive_file"
    else:
        (proc / "self/cgroup").write_text("3:cpu:/x\n2:memory,other:/outer/inner\n")
        limit, used, cache = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        groups /= "memory"
    (groups / "outer/inner").mkdir(parents=True)
    (groups / "outer/inner" / limit).write_text("max\n")
    (groups / "outer/inner" / used).write_text("100\n")
    (groups / "outer" / limit).write_text("5000\n")
    (groups / "outer" / used).write_text("2000\n")
    (groups / "outer/memory.stat").write_text(f"anon 1\n{cache} 300\n")
    assert available_memory(tmp_path) == 3300


def test_where_the_system_says_nothing_nothing_is_known(tmp_path):
    assert available_memory(tmp_path) is None
