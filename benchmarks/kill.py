"""kill -9 at random moments, many times over one run: does it end as if nothing had happened?

    python benchmarks/kill.py [--kills 50] [--ranks 1] [--steps 1200] [--seed 0]

Trains a run once without disturbance and once while killing it (with `--ranks`, one random rank of
torchrun's), each time starting the same command again. Then all that holds a result is compared:
weights, averages and optimizer state bit by bit, metrics row by row (without timings), and the
summary. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import load_file

from adana.runs import Run
from adana.train.checkpoint import checkpoint_step, list_checkpoints


def command(run: Path, a: argparse.Namespace) -> list[str]:
    start = [sys.executable, "-m", "adana"]
    if a.ranks > 1:
        launcher = ["torch.distributed.run", "--nproc-per-node", str(a.ranks), "--standalone"]
        start = [sys.executable, "-m", *launcher, "-m", "adana"]
    flags = ["--steps", str(a.steps), "--checkpoint-every", "10", "--eval-tokens", "8192"]
    averages = ["--averages", "ema:0.99"]
    where = ["--run-directory", str(run), "--device", "cpu", "--threads", "1"]
    return [*start, "train", *flags, *averages, *where]


def children(pid: int) -> list[int]:
    """Return the processes that `pid` started, and theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def kill_at_random(process: subprocess.Popen, seconds: float, a: argparse.Namespace) -> bool:
    """Kill the run, or one of its ranks, after a time; False if it ended by itself."""
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        pass
    ranks = children(process.pid) if a.ranks > 1 else []
    os.kill(random.choice(ranks) if ranks else process.pid, signal.SIGKILL)
    process.wait()
    return True


def undisturbed(run: Path, a: argparse.Namespace, quiet: dict[str, int]) -> tuple[float, float]:
    """Train to the end; return the seconds to the first checkpoint and in all."""
    begin, ready = time.monotonic(), None
    process = subprocess.Popen(command(run, a), **quiet)
    while process.poll() is None:
        if ready is None and steps_reached(run):
            ready = time.monotonic() - begin
        time.sleep(0.05)
    if process.returncode or ready is None:
        raise SystemExit(f"the undisturbed run failed with exit code {process.returncode}")
    return ready, time.monotonic() - begin


def steps_reached(run: Path) -> int:
    found = list_checkpoints(Run(run).checkpoints)
    return checkpoint_step(found[-1]) if found else 0


def differences(one: Run, other: Run) -> list[str]:
    """Name what two runs ended with differently."""
    wrong = []
    tensors = []
    for run in (one, other):
        newest = list_checkpoints(run.checkpoints)[-1]
        tensors.append([load_file(file) for file in sorted(newest.glob("*.safetensors"))])
    for left, right in zip(*tensors, strict=True):
        wrong += [name for name in left.keys() | right.keys() if not _same(left, right, name)]
    rows = [
        [{k: v for k, v in row.items() if k != "timing"} for row in run.metrics()]
        for run in (one, other)
    ]
    if rows[0] != rows[1]:
        wrong.append("metrics.jsonl")
    repeated = collections.Counter(("val_loss" in r, r["step"]) for r in rows[1])
    wrong += [f"row {key} written {n} times" for key, n in repeated.items() if n > 1]
    losses = [
        json.loads((run.path / "summary.json").read_text())["val_loss"] for run in (one, other)
    ]
    if losses[0] != losses[1]:
        wrong.append("summary.json")
    return wrong


def _same(left: dict, right: dict, name: str) -> bool:
    return name in left and name in right and bool(left[name].equal(right[name]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    random.seed(a.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        ready, alone = undisturbed(whole, a, quiet)
        print(f"undisturbed: {alone:.0f} s, first checkpoint after {ready:.0f} s", flush=True)
        kills, moments = 0, collections.Counter()
        while kills < a.kills:
            before = steps_reached(killed)
            # From a fresh start to beyond the time that the next checkpoint takes.
            process = subprocess.Popen(command(killed, a), **quiet)
            if not kill_at_random(process, random.uniform(0.0, 1.5 * ready), a):
                print(f"the run ended after {kills} kills; train more steps", flush=True)
                break
            kills += 1
            gained = steps_reached(killed) - before
            moments["before" if gained == 0 else "after"] += 1
            print(f"kill {kills}: at step {steps_reached(killed)} or later", flush=True)
        subprocess.run(command(killed, a), check=True, **quiet)
        wrong = differences(Run(whole), Run(killed))
    said = ", ".join(f"{n} {when} the session's first checkpoint" for when, n in moments.items())
    print(f"{kills} kills ({said}): " + (f"DIFFERENT: {wrong}" if wrong else "nothing differs"))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
