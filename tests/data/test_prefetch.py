import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.data import BatchStream, Prefetcher

STREAM = BatchStream(np.arange(10_007, dtype=np.uint16), 16, seed=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 9)), max_size=20), st.integers(1, 4))
def test_any_requests_give_what_the_stream_gives(requests, depth):
    with Prefetcher(STREAM, depth) as ahead:
        for first, count in requests:
            np.testing.assert_array_equal(ahead.get(first, count), STREAM.batch(first, count))


@pytest.mark.parametrize("stride", [8, 32, -8, 0])
def test_regular_requests_are_foreseen(stride):
    with Prefetcher(STREAM) as ahead:
        for number in range(20):
            first = 400 + number * stride
            np.testing.assert_array_equal(ahead.get(first, 8), STREAM.batch(first, 8))
    assert ahead.foreseen >= 18


def test_what_follows_can_be_told():
    """Two micro-batches a step, of one of four ranks."""

    def following(first, count):
        step, inside = divmod(first, 64)
        return (first + count, count) if inside % 16 == 0 else ((step + 1) * 64, count)

    with Prefetcher(STREAM, following=following) as ahead:
        for step in range(10):
            for micro in range(2):
                first = 64 * step + 8 * micro
                np.testing.assert_array_equal(ahead.get(first, 8), STREAM.batch(first, 8))
    assert ahead.foreseen == 19


class Slow:
    """A stream that takes a while for each batch, and can fail at one of them."""

    def __init__(self, seconds=0.0, fail_at=None):
        self.seconds, self.fail_at, self.asked, self.threads = seconds, fail_at, [], set()

    def batch(self, first, count):
        self.threads.add(threading.current_thread().name)
        self.asked.append((first, count))
        time.sleep(self.seconds)
        if first == self.fail_at:
            raise OSError(f"disk gone at {first}")
        return STREAM.batch(first, count)


def test_work_between_requests_hides_the_reading():
    with Prefetcher(Slow(0.02)) as ahead:
        for number in range(10):
            ahead.get(8 * number, 8)
            time.sleep(0.1)
    assert 0.02 <= ahead.seconds_waited < 0.16  # without reading ahead ten times 0.02


def test_waiting_is_counted_where_nothing_hides_the_reading():
    with Prefetcher(Slow(0.01)) as ahead:
        for number in range(10):
            ahead.get(8 * number, 8)
    assert ahead.seconds_waited >= 0.09


def test_no_more_than_depth_batches_are_ahead():
    stream = Slow()
    with Prefetcher(stream, depth=2) as ahead:
        ahead.get(0, 8)
        time.sleep(0.2)
        assert stream.asked == [(0, 8), (8, 8), (16, 8)]


def test_an_error_is_raised_where_its_batch_is_asked_for():
    with Prefetcher(Slow(fail_at=16)) as ahead:
        ahead.get(0, 8)
        time.sleep(0.1)
        ahead.get(8, 8)
        with pytest.raises(OSError, match="disk gone at 16"):
            ahead.get(16, 8)
        np.testing.assert_array_equal(ahead.get(24, 8), STREAM.batch(24, 8))


def test_closing_ends_the_thread_and_is_repeatable():
    stream = Slow(0.01)
    ahead = Prefetcher(stream)
    ahead.get(0, 8)
    ahead.close()
    ahead.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not names & stream.threads - {threading.current_thread().name}
    np.testing.assert_array_equal(ahead.get(8, 8), STREAM.batch(8, 8))


def test_an_exception_of_the_consumer_closes_it():
    stream = Slow()

    def train():
        with Prefetcher(stream) as ahead:
            ahead.get(0, 8)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert not any(t.name.startswith("adana-prefetch") for t in threading.enumerate())


def test_depth_below_one_is_refused():
    with pytest.raises(ValueError, match="depth is 0"):
        Prefetcher(STREAM, depth=0)
