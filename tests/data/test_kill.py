"""A preparation that is killed at any moment goes on, and ends with the very same files."""

import json
import random
import time

import numpy as np
import pytest
from tests.ranks import forkserver

from adana.data import DataConfig, prepare, sources
from adana.data import build as build_module
from adana.data.journal import Journal

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "kappa", "omega", "tau", "eta"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "x.jsonl"
    choose = np.random.default_rng(0)
    rows = [f"{i % 2900} " + " ".join(choose.choice(WORDS, 60)) for i in range(3000)]
    rows += rows[:50]  # copies, so that what was seen before a kill matters after it
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_kill_at_random_moments_changes_nothing(corpus, tmp_path, monkeypatch, kills):
    monkeypatch.setattr(build_module, "BATCH_BYTES", 4000)
    monkeypatch.setattr("adana.data.sources.LISTED_ROW_BYTES", 0)
    config = DataConfig(str(corpus), 300, 0.2)
    whole = prepare(config, tmp_path / "whole", shard_tokens=5000)
    assert len(whole.manifest["splits"]["train"]["files"]) > 10

    choose, cache = random.Random(1), tmp_path / "cache"
    moments = [choose.randint(10, 250 // kills) for _ in range(kills)]
    reached = [kill_after(stages, corpus, cache) for stages in moments]
    assert reached == sorted(reached), "work that was done has been lost"
    assert reached[-1] > 0
    shards = prepare(config, cache, shard_tokens=5000)
    assert shards.fingerprint == whole.fingerprint
    assert shards.manifest["files"] == whole.manifest["files"]
    assert shards.manifest["corpus"] == whole.manifest["corpus"]
    assert not [path.name for path in shards.folder.iterdir() if path.name.endswith(".part")]


def prepare_and_tell(pipe, corpus, cache, most):
    """Prepare in a process of its own, tell of each stage, and stand still after `most`."""
    build_module.BATCH_BYTES, build_module.COMMIT_SECONDS = 4000, 0.02
    sources.LISTED_ROW_BYTES = 0
    told = 0

    def tell(stage, fraction):
        nonlocal told
        told += 1
        pipe.send(stage)
        time.sleep(0.002)
        while told >= most:  # a busy machine kills late, and then there must be something to kill
            time.sleep(1)

    prepare(DataConfig(str(corpus), 300, 0.2), cache, tell, shard_tokens=5000)


def kill_after(stages, corpus, cache):
    """Kill a preparation after it has told of so many; return how many documents are done."""
    context = forkserver()
    pipe, theirs = context.Pipe()
    process = context.Process(target=prepare_and_tell, args=(theirs, corpus, cache, stages + 5))
    process.start()
    theirs.close()
    for _ in range(stages):
        assert "beginning again" not in pipe.recv()
    process.kill()
    process.join()
    (left,) = cache.iterdir()
    return Journal(left).load().read
