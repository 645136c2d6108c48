"""What the workers of the engine's tests run: a spawned process imports its job from here."""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

from adana.tune import run_jobs


def square(payload, emit):
    return payload**2


def span(payload, emit):
    """Return when the job began and ended, on the clock that all processes share."""
    begun = time.monotonic()
    for i in range(20):
        emit(i)
    time.sleep(payload)
    return begun, time.monotonic()


def misbehave(payload, emit):
    if payload == "raise":
        raise ValueError("the reason")
    if payload == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if payload == "exit":
        os._exit(7)
    if payload == "event":
        emit(lambda: None)
    if payload == "result":
        return lambda: None
    if payload == "unreadable":
        return Unreadable()
    return payload


class Unreadable:
    """Pickled in one process, refused in the next."""

    def __reduce__(self):
        return _only_in, (os.getpid(),)


def _only_in(process: int) -> None:
    if process != os.getpid():
        raise ImportError("cannot be read in another process")


class Locked:
    """A payload that cannot be pickled."""

    def __reduce__(self):
        raise TypeError("cannot pickle this payload")


def beat(payload, emit):
    """Tell a file that it lives and was asked to stop, and the parent unless mute; save then."""
    folder, name, mode = payload
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    for i in range(2400):  # two minutes
        (folder / name).write_text(f"{os.getpid()} {i} {len(stopped)}")
        if mode != "mute":
            emit(i)
        if stopped and mode != "deaf":
            time.sleep(0.3)
            return "saved"
        time.sleep(0.05)
    return "never stopped"


def spoil(payload, emit):
    """Leave behind whatever a job can, and return what a job before it left."""
    import random  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    found = {
        "pid": os.getpid(),
        "handler": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "threads": torch.get_num_threads(),
        "dtype": str(torch.get_default_dtype()),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "normal": torch.randn(4).tolist(),
        "spoilt": os.environ.get("SPOILT"),
        "folder": os.getcwd(),
    }
    drawn = random.random(), np.random.random()
    random.seed(0)
    np.random.seed(0)
    signal.signal(signal.SIGTERM, lambda *_: None)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    torch.manual_seed(payload)
    os.environ["SPOILT"] = "yes"
    os.chdir("/")
    return found, drawn


def ask_itself_to_stop(payload, emit):
    """Catch a SIGTERM, as a training that saves does."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.kill(os.getpid(), signal.SIGTERM)
    return os.getpid()


def leave_a_thread(payload, emit):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return os.getpid()


def leave_a_thread_that_keeps_its_process(payload, emit):
    """Leave a thread that writes the file after 10 seconds, unless its process ended before."""

    def outlive():
        time.sleep(10)
        payload.write_text("still here")

    threading.Thread(target=outlive, daemon=False).start()


def have_a_child(payload, emit):
    """Compute in a process of its own, as the workers of a DataLoader do."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=theirs.send, args=(payload**2,))
    child.start()
    found = ours.recv()
    child.join()
    return found


def die_before_its_child(payload, emit):
    """Be killed while a child lives, which writes the file after 10 seconds."""

    def outlive():
        time.sleep(10)
        payload.write_text("still here")

    multiprocessing.get_context("fork").Process(target=outlive).start()
    os.kill(os.getpid(), signal.SIGKILL)


def grow(payload, emit):
    """Keep some memory for good."""
    KEPT.append(b"x" * payload)
    return os.getpid()


KEPT = []


def die_in_company(payload, emit):
    """Be killed unless this is a second attempt; tell when each attempt ran."""
    folder, name, deadly = payload
    with (folder / name).open("a") as log:
        log.write(f"{time.monotonic()} ")
    if deadly == "always" or (deadly and len((folder / name).read_text().split()) == 1):
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    with (folder / name).open("a") as log:
        log.write(f"{time.monotonic()} ")
    return name


def count_to_ten(payload, emit):
    """Count in a file, going on where an earlier attempt was cut off; emit the node each time."""
    folder, i = payload
    with (folder / f"starts {i}").open("a") as starts:
        starts.write("x")
    path = folder / str(i)
    while len(counted := path.read_text().split() if path.exists() else []) < 10:
        path.write_text(" ".join([*counted, str(len(counted) + 1)]))
        emit(os.environ.get("TEST_NODE"))
        time.sleep(0.2)
    return 10


def shards_of(corpus, cache):
    from adana.data import DataConfig, prepare  # noqa: PLC0415

    return prepare(DataConfig(corpus=str(corpus), vocab_size=300), cache=cache)


def training(config, shards, run):
    """Return the payload of `train_job`."""
    return config, str(shards.folder), str(run)


def train_job(payload, emit):
    """Train for real; return how it ended as plain values."""
    from adana.data import open_shards  # noqa: PLC0415
    from adana.runs import Run  # noqa: PLC0415
    from adana.train import train  # noqa: PLC0415

    config, shards, run = payload
    outcome = train(config, open_shards(Path(shards)), Run(Path(run)), emit)
    return {"state": outcome.state, "step": outcome.step}


def main(folder: str, mode: str) -> None:
    """Run three jobs, two at a time, and print what became of them."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    payloads = {name: (Path(folder), name, mode) for name in ("a", "b", "c")}
    results = run_jobs(beat, payloads, workers=2)
    print(json.dumps({name: result.value or result.error for name, result in results.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
