"""A real cluster of two nodes on this machine; needs ray, and is skipped without."""

import os
from pathlib import Path

import pytest

from adana.runs import Run
from adana.tune import RayEngine
from tests.train.conftest import tiny_config, write_corpus

from . import jobs

ray = pytest.importorskip("ray", reason='needs ray: pip install "adana[ray]"')
cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs ray")

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of ray
    pytest.mark.xdist_group("ray"),  # one cluster at a time: two on two cores starve each other
]


@pytest.fixture
def cluster():
    """Two nodes with one CPU each; the first one is the driver's."""
    before = dict(os.environ)
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), before.get("PYTHONPATH", "")])
    os.environ |= {
        "PYTHONPATH": path,
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    memory = {"object_store_memory": 100 * 2**20}
    made = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, **memory},
    )
    made.second = made.add_node(num_cpus=1, env_vars={"TEST_NODE": "second"}, **memory)
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ.clear()
    os.environ.update(before)


def test_a_batch_has_the_results_events_and_failures_of_a_local_one(cluster):
    events, ended = [], []
    with RayEngine(cluster.address) as engine:
        squares = engine.run(jobs.square, {str(i): i for i in range(20)})
        spans = engine.run(
            jobs.span,
            {"a": 0.1, "b": 0.1},
            on_event=lambda *event: events.append(event),
            on_result=lambda name, result: ended.append((name, result, len(events))),
        )
        wrong = {"raise": "raise", "result": "result", "exit": "exit", "good": "good"}
        failures = engine.run(jobs.misbehave, {**wrong, "payload": jobs.Locked()})
        with pytest.raises(ValueError, match=r"needs 4 CPU on one node and the largest has 1"):
            RayEngine(cluster.address, cpus_per_job=4)
    assert {name: result.value for name, result in squares.items()} == {
        str(i): i**2 for i in range(20)
    }
    assert sorted(name for name, _, _ in ended) == ["a", "b"]
    assert {name: result for name, result, _ in ended} == spans
    for name in ("a", "b"):
        assert [event for job, event in events if job == name] == list(range(20))
        seen = next(count for job, _, count in ended if job == name)
        assert name not in [job for job, _ in events[seen:]], "an event after the result"
    assert failures["raise"].error == "ValueError: the reason"
    assert "exit code 7" in failures["exit"].error
    assert "pickle" in failures["result"].error
    assert failures["payload"].error == "TypeError: cannot pickle this payload"
    assert failures["good"].value == "good"


def test_a_node_that_dies_mid_search_loses_nothing_and_nothing_counts_twice(cluster, tmp_path):
    ended, killed = [], []
    payloads = {f"job {i}": (tmp_path, i) for i in range(6)}

    def kill_second_node(name, event):
        if event == "second" and not killed:
            killed.append(name)
            cluster.remove_node(cluster.second, allow_graceful=False)

    with RayEngine(cluster.address) as engine:
        results = engine.run(
            jobs.count_to_ten,
            payloads,
            on_event=kill_second_node,
            on_result=lambda name, result: ended.append(name),
        )
    assert killed
    assert sorted(ended) == sorted(payloads)
    assert {name: (r.value, r.error) for name, r in results.items()} == dict.fromkeys(
        payloads, (10, "")
    )
    for name, (_, i) in payloads.items():
        counted = (tmp_path / str(i)).read_text().split()
        assert counted == [str(n) for n in range(1, 11)], name
    assert len((tmp_path / f"starts {payloads[killed[0]][1]}").read_text()) == 2


def test_after_a_signal_running_jobs_save_and_waiting_ones_never_start(cluster, tmp_path):
    payloads = {name: (tmp_path, name, "listening") for name in ("a", "b", "c", "d")}
    seen = set()

    def stop(name, event):
        seen.add(name)
        if len(seen) == 2 and not asked:
            asked.append(1)
            os.kill(os.getpid(), jobs.signal.SIGINT)

    asked = []
    with RayEngine(cluster.address) as engine:
        results = engine.run(jobs.beat, payloads, on_event=stop)
    assert set(results) == seen
    assert {result.value for result in results.values()} == {"saved"}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("devices", [1, 2])
def test_a_training_runs_as_a_task_and_through_ray_train(cluster, tmp_path, devices):
    corpus = write_corpus(tmp_path / "corpus")
    shards = jobs.shards_of(corpus, tmp_path / "cache")
    config = tiny_config(corpus)
    payload = jobs.training(config, shards, tmp_path / "run")
    events = []
    with RayEngine(cluster.address, devices_per_job=devices, storage=str(tmp_path / "ray")) as e:
        result = e.run(jobs.train_job, {"run": payload}, lambda *event: events.append(event))["run"]
    assert result.error == "", result.details
    assert result.value["state"] == "finished"
    assert result.value["step"] == config.steps
    assert {name for name, _ in events} == {"run"}
    run = Run(tmp_path / "run")
    assert run.finished
    assert run.environment()["ranks"] == devices


def test_without_a_cluster_the_error_says_what_to_do():
    with pytest.raises(ConnectionError, match=r"no Ray cluster at 127.0.0.1:1"):
        RayEngine("127.0.0.1:1")


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="devices_per_job must be at least 1"):
        RayEngine(devices_per_job=0)
