"""Losses with a known minimum, and a runner that calls them in this process."""

import json
import math
import time
from pathlib import Path

from adana.tune import InProcess, Log


class Inline(InProcess):
    """Runs jobs in this process, counts them, and stops as if by Ctrl-C after so many."""

    def __init__(self, stop_after=None):
        self.runs, self.left = 0, stop_after

    def run(self, work, payloads, on_event=None, on_result=None):
        names = list(payloads)[: self.left]
        self.runs += len(names)
        if self.left is not None:
            self.left -= len(names)
        return super().run(work, {name: payloads[name] for name in names}, on_event, on_result)


def octaves(config, name, centre):
    """How many factors of 2 a value is above the centre; 0 where the configuration lacks it."""
    return math.log2(config.get(name, centre) / centre)


def bowl(config):
    """Lowest at lr 0.004 and decay 8: the two do not depend on each other."""
    return 3 + 0.02 * octaves(config, "lr", 0.004) ** 2 + 0.01 * octaves(config, "decay", 8) ** 2


def slanted(config):
    """Lowest at lr 0.004 and decay 8, a little along their product."""
    x, y = octaves(config, "lr", 0.004), octaves(config, "decay", 8)
    return 3 + 0.01 * (x + y) ** 2 + 0.006 * (x - y) ** 2


def valley(config):
    """Lowest at lr 0.004 and decay 8; what matters most is their product."""
    x, y = octaves(config, "lr", 0.004), octaves(config, "decay", 8)
    return 3 + 0.02 * (x + y) ** 2 + 0.004 * (x - y) ** 2


def ridge(config):
    """From lr 0.001 and decay 4, only moving both helps."""
    x, y = octaves(config, "lr", 0.001), octaves(config, "decay", 4)
    return 3 + 0.05 * (x - y) ** 2 - 0.01 * (x + y) + 0.002 * (x + y) ** 2


def cliff(config):
    """Better with the learning rate until it diverges, above 0.008."""
    return math.nan if config["lr"] > 0.008 else 3 - octaves(config, "lr", 0.001) * 0.01


def noisy(config):
    return bowl(config) + {0: -0.01, 1: 0.0, 2: 0.01}[config["seed"]]


def crashes_above_two(config):
    if config["lr"] > 0.002:
        raise RuntimeError("a disk is full")
    return bowl(config)


def written_down(config):
    """The bowl, which leaves a line behind for every call."""
    with open(config["log"], "a") as log:
        log.write(json.dumps(config, sort_keys=True) + "\n")
    time.sleep(0.05)
    return bowl(config)


LR = Log("lr", (0.001, 0.002, 0.004), 0.001, high=1.0)
DECAY = Log("decay", (4.0, 8.0, 16.0), 4.0)
SPACE = (LR, DECAY)


def search(folder: str) -> None:
    """Search with two processes; the target of the test that kills."""
    from adana.tune import Rules, tune  # noqa: PLC0415 - the tests need no engine

    fixed = {"log": str(Path(folder) / "calls.jsonl")}
    tune(written_down, SPACE, fixed=fixed, folder=Path(folder), workers=2, rules=Rules())
