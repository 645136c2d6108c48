"""The ranks themselves: what goes wrong in one must fail its test, and only that."""

import os
import sys
import time

import pytest
import torch
import torch.distributed as dist

from tests.ranks import PRELOADED, RankError, forkserver


def total_of_ranks():
    total = torch.tensor(float(dist.get_rank()))
    dist.all_reduce(total)
    return dist.get_rank(), total.item()


def raise_on_rank_1():
    if dist.get_rank() == 1:
        raise KeyError("this one")
    dist.barrier()


def die_on_rank_1():
    if dist.get_rank() == 1:
        os._exit(3)
    dist.barrier()


def hang():
    time.sleep(60)


def tell_what_is_missing(pipe):
    pipe.send(set(PRELOADED) - set(sys.modules))


def test_a_process_begins_with_all_that_is_slow_to_import():
    """The fork server says nothing of imports that failed."""
    ours, theirs = forkserver().Pipe()
    process = forkserver().Process(target=tell_what_is_missing, args=(theirs,))
    process.start()
    theirs.close()
    assert ours.recv() == set()
    process.join()


def test_every_rank_runs_the_function_and_returns_its_own_answer(worlds):
    assert worlds(2).run(total_of_ranks) == [(0, 1.0), (1, 1.0)]


@pytest.mark.parametrize(
    ("function", "seconds", "message"),
    [
        (raise_on_rank_1, 30, "rank 1 of 2: Traceback.*KeyError: 'this one'"),
        (die_on_rank_1, 30, "rank 1 of 2: died, exit code 3"),
        (hang, 0.5, "rank 0 of 2: was still busy"),
    ],
)
def test_a_rank_that_raises_dies_or_hangs_fails_its_test_alone(worlds, function, seconds, message):
    with pytest.raises(RankError, match=rf"(?s){function.__name__} failed.*{message}"):
        worlds(2).run(function, seconds=seconds)
    assert worlds(2).run(total_of_ranks) == [(0, 1.0), (1, 1.0)]
