"""`adana train` as clusters start it: torchrun on several nodes, SLURM's srun, signals, limits.

Nodes are processes of this machine; srun and scontrol are stand-ins that set what SLURM sets.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from adana.cli import branch, main
from adana.cli.engine_flags import EngineFlags
from adana.data import DataConfig
from adana.ladder import job_memory
from adana.nn import EnokiConfig
from adana.runs import Run, find_runs
from adana.train import OptimizerConfig, TrainConfig
from adana.train.checkpoint import checkpoint_step, list_checkpoints
from tests.ranks import forkserver
from tests.train.conftest import write_corpus

from .test_command_line import TINY

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "cluster"
LONG = ("--steps", "100000", "--checkpoint-every", "1000")
WAIT = 300
LOSSES = ("train_loss", "val_loss")
SRUN = '''\
"""Start the tasks of a job as srun does, and exit with the largest of their exit codes."""
import os, subprocess, sys
command = [word for word in sys.argv[1:] if not word.startswith("--wait")]
tasks = [
    subprocess.Popen(command, env={**os.environ, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)})
    for i in range(int(os.environ["SLURM_NTASKS"]))
]
sys.exit(max(task.wait() for task in tasks))
'''
SCONTROL = '''\
"""Know one host, and write down what is requeued."""
import sys
from pathlib import Path
if sys.argv[1] == "show":
    print("127.0.0.1")
else:
    Path("requeued").write_text(" ".join(sys.argv[1:]))
'''


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "corpus")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(f"#!{sys.executable}\n{text}")
        (tools / name).chmod(0o755)
    for name, value in {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "ADANA_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }.items():
        monkeypatch.setenv(name, value)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def arguments(run: str, *more: str) -> list[str]:
    return ["--data", "corpus", *TINY, "--lr", "0.002", *more, "--run-directory", run]


def begin(*command: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def losses(run: str) -> dict[tuple[int, str], float]:
    """Every loss of a run, by its step and name."""
    rows = Run(Path(run)).metrics()
    return {(row["step"], key): row[key] for row in rows for key in LOSSES if key in row}


def wait_until_training(run: Run, alive) -> None:
    deadline = time.monotonic() + WAIT
    while not any("train_loss" in row for row in run.metrics()):
        assert alive(), "it ended before it trained"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_two_nodes_train_what_one_process_trains():
    port = str(free_port())
    nodes = [
        begin(
            str(EXAMPLES / "torchrun.sh"), "127.0.0.1", "2", str(node), *arguments("many"),
            PORT=port, RANKS_PER_NODE="2",
        )
        for node in range(2)
    ]  # fmt: skip
    for node in nodes:
        out = node.communicate(timeout=WAIT)[0]
        assert node.returncode == 0, out
    assert Run(Path("many")).environment()["ranks"] == 4
    alone = begin(sys.executable, "-m", "adana", "train", *arguments("alone"))
    assert alone.wait(WAIT) == 0
    assert losses("many") == pytest.approx(losses("alone"), rel=1e-5)
    assert len(losses("many")) > 5


@pytest.mark.slow
def test_slurm_requeues_a_run_that_a_signal_stopped_and_it_ends(tmp_path):
    job = {
        "SLURM_JOB_NODELIST": "here",
        "SLURM_JOB_ID": str(free_port() - 20000),
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
    }
    run = Run(Path("run"))
    script = ["bash", str(EXAMPLES / "slurm.sbatch"), *arguments("run", *LONG)]
    process = begin(*script, **job)
    wait_until_training(run, lambda: process.poll() is None)
    for rank in ranks_below(process.pid):
        os.kill(rank, signal.SIGUSR1)
    out = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 75, out
    assert Path("requeued").read_text() == f"requeue {job['SLURM_JOB_ID']}"
    assert run.status()["state"] == "interrupted"
    assert "SIGUSR1" in run.status()["reason"]
    assert checkpoint_step(list_checkpoints(run.checkpoints)[-1]) == run.status()["step"]


def ranks_below(pid: int) -> list[int]:
    """Return the processes below `pid` that run adana."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (path / "cmdline").read_text().split("\0")
        except (OSError, ValueError):
            continue
        if parent == pid:
            own = [int(path.name)] if words[1:4] == ["-m", "adana", "train"] else []
            found += own + ranks_below(int(path.name))
    return found


def test_a_time_limit_ends_in_a_checkpoint_and_exit_code_75(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(("train", *arguments("run", *LONG, "--time-limit", "0:01")))
    assert exit_.value.code == 75
    assert "by the time limit of 1 seconds" in capsys.readouterr().out
    run = Run(Path("run"))
    assert checkpoint_step(list_checkpoints(run.checkpoints)[-1]) == run.status()["step"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_person_and_a_scheduler_get_different_exit_codes(number, code, tmp_path):
    cache = str(tmp_path / "cache")
    words = ("train", *arguments("run", *LONG))
    process = forkserver().Process(target=main_with_cache, args=(cache, words))
    process.start()
    try:
        wait_until_training(Run(Path("run")), process.is_alive)
        os.kill(process.pid, number)
        process.join(WAIT)
    finally:
        process.kill()
    assert process.exitcode == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGUSR1, 75)])
def test_many_trainings_stop_with_the_exit_code_of_one(number, code, capsys):
    words = ("compare", "adamw", "adana", "--data", "corpus", *TINY, "--steps", "100000")
    rates = ("--lr", "adamw=0.002", "adana=0.002", "--seeds", "1", "--jobs", "2")
    ended = threading.Event()

    def going():
        return [run for run in find_runs(Path("runs")) if any(run.metrics())]

    def stop_when_both_train():
        while not ended.wait(0.1):
            if len(going()) == 2:
                os.kill(os.getpid(), number)
                return

    thread = threading.Thread(target=stop_when_both_train)
    thread.start()
    try:
        with pytest.raises(SystemExit) as exit_:
            main((*words, *rates))
    finally:
        ended.set()
        thread.join()
    assert exit_.value.code == code
    assert "The same command goes on where it was" in capsys.readouterr().out
    assert all(list_checkpoints(run.checkpoints) for run in going())


def test_a_scheduler_stops_a_branch_that_has_not_begun_with_exit_code_75(monkeypatch):
    def stopped(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    trunk = SimpleNamespace(config=lambda: {"data": {"fingerprint": "0"}})
    monkeypatch.setattr(branch, "find_run", lambda *_: trunk)
    planned = SimpleNamespace(data=DataConfig())
    monkeypatch.setattr(branch, "find_branch", lambda *_: (planned, None))
    monkeypatch.setattr(branch, "prepare_on_ranks", stopped)
    with pytest.raises(SystemExit) as exit_:
        main(("branch", "trunk", "--steps", "10", "--device", "cpu"))
    assert exit_.value.code == 75


def main_with_cache(cache, words):
    os.environ["ADANA_CACHE"] = cache
    main(words)


def test_a_ray_address_without_ray_is_a_wrong_argument(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(("compare", "--data", "corpus", *TINY, "--ray-address", "there:6379"))
    assert exit_.value.code == 2
    assert "--ray-address needs --engine ray" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--memory-per-job", "0"), "--memory-per-job must be above 0 GB, got 0"),
        (("--memory-per-job", "2", "--engine", "ray"), "--memory-per-job needs --engine local"),
    ],
)
def test_a_wrong_memory_of_a_job_is_a_wrong_argument(capsys, words, said):
    with pytest.raises(SystemExit, match="2"):
        main(("compare", "--data", "corpus", *TINY, *words))
    assert said in capsys.readouterr().err


def test_no_more_trainings_run_at_a_time_than_fit_in_memory(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(("compare", "--data", "corpus", *TINY, "--jobs", "2", "--memory-per-job", "1e6"))
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 jobs at a time" in said
    assert "even one may not fit" in said


def test_without_a_number_the_memory_of_the_largest_training_is_estimated():
    small, large = (
        TrainConfig(OptimizerConfig("adamw", 1e-3), 100, model=EnokiConfig(heads=h)) for h in (1, 4)
    )
    engine = EngineFlags().build(2, [large, small], print)
    assert engine.memory_per_job == job_memory(large) > job_memory(small)


def test_a_number_of_jobs_with_the_ray_engine_is_a_wrong_argument(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(("compare", "--data", "corpus", *TINY, "--engine", "ray", "--jobs", "2"))
    assert "--jobs 2 does not go with --engine ray" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb", [("compare",), ("tune", "adana"), ("compare", "adamw", "adana", "--seeds", "1")]
)
def test_a_missing_tracker_is_named_before_data_are_read(verb, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    words = ("--data", "nowhere", *TINY, "--trackers", "wandb")
    with pytest.raises(SystemExit, match="2"):
        main((*verb, *words))
    assert "the tracker wandb needs the package wandb" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", [("compare",), ("tune", "adana"), ("ladder", "run")])
def test_missing_ray_is_named_before_data_are_read(verb, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # imports of it fail
    with pytest.raises(SystemExit, match="1"):
        main((*verb, "--data", "nowhere", "--engine", "ray"))
    assert 'pip install "adana[ray]"' in capsys.readouterr().err


def test_the_ray_engine_without_ray_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # imports of it fail
    with pytest.raises(SystemExit) as exit_:
        main(("compare", "--data", "corpus", *TINY, "--engine", "ray"))
    assert exit_.value.code == 1
    assert 'pip install "adana[ray]"' in capsys.readouterr().err
