"""What the workers of the engine's tests run: a spawned process imports its job from here."""

import json
import os
import signal
import sys
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


def main(folder: str, mode: str) -> None:
    """Run three jobs, two at a time, and print what became of them."""
    payloads = {name: (Path(folder), name, mode) for name in ("a", "b", "c")}
    results = run_jobs(beat, payloads, workers=2)
    print(json.dumps({name: result.value or result.error for name, result in results.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
