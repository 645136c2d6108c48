"""Batches ready before they are asked for.

Reading a batch takes a fraction of a millisecond while its tokens are in memory, and as long as the
disk takes when they are not; a thread that is a few batches ahead hides both. What it gives is
what the stream itself would have given, whatever is asked for: a request that was not foreseen is
computed on the spot, and foreseeing begins anew from there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

import numpy as np

Request = tuple[int, int]
"""First index and count of a batch."""

DEPTH = 3
"""Batches computed ahead."""


class Stream(Protocol):
    """What can be asked for batches, such as `BatchStream`."""

    def batch(self, first: int, count: int) -> np.ndarray:
        """Return the sequences with indices `first` to ``first + count - 1``."""
        ...


class Prefetcher:
    """Gives the batches of a stream, computed ahead in a thread. Use as a context manager.

    `following` says which request comes after a given one; by default the distance between the
    last two is kept, and the second request is expected right after the first. So consecutive
    batches and every n-th batch are foreseen. Exceptions of the stream are raised where the batch
    is asked for. Asking is for one thread at a time; after `close` it computes on the spot.
    """

    def __init__(
        self,
        stream: Stream,
        depth: int = DEPTH,
        following: Callable[[int, int], Request] | None = None,
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth is {depth}, expected at least 1 batch ahead")
        self._stream, self._depth, self._following = stream, depth, following
        self._ahead: deque[tuple[Request, Future[np.ndarray]]] = deque()
        self._last: Request | None = None
        self._stride: int | None = None
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "adana-prefetch")
        self.seconds_waited = 0.0
        """Time that `get` has taken so far: what the training waited for data."""
        self.foreseen = 0
        """Requests whose batch was already on its way."""

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def get(self, first: int, count: int) -> np.ndarray:
        """Return the same int64 array ``(count, length + 1)`` as ``stream.batch(first, count)``."""
        begun = time.perf_counter()
        try:
            return self._get((first, count))
        finally:
            self.seconds_waited += time.perf_counter() - begun

    def close(self) -> None:
        """Stop the thread; it ends after the batch it is at."""
        self._forget()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _get(self, request: Request) -> np.ndarray:
        if self._last is not None and self._last[1] == request[1]:
            self._stride = request[0] - self._last[0]
        self._last = request
        batch = self._take(request)
        if batch is None:
            batch = self._stream.batch(*request)
        self._look_ahead(request)
        return batch

    def _take(self, request: Request) -> np.ndarray | None:
        """Return the batch if it was foreseen; what was expected before it is dropped."""
        if not any(expected == request for expected, _ in self._ahead):
            self._forget()
            return None
        while True:
            expected, future = self._ahead.popleft()
            if expected == request:
                self.foreseen += 1
                return future.result()
            future.cancel()

    def _look_ahead(self, request: Request) -> None:
        """Have the batches after `request` computed, as far as they are not under way."""
        if self._pool is None:
            return
        expected = request
        for place in range(self._depth):
            expected = self._next(*expected)
            if expected[0] < 0:
                return
            if place < len(self._ahead):
                if self._ahead[place][0] == expected:
                    continue
                while len(self._ahead) > place:
                    self._ahead.pop()[1].cancel()
            self._ahead.append((expected, self._pool.submit(self._stream.batch, *expected)))

    def _next(self, first: int, count: int) -> Request:
        if self._following is not None:
            return self._following(first, count)
        return first + (count if self._stride is None else self._stride), count

    def _forget(self) -> None:
        while self._ahead:
            self._ahead.pop()[1].cancel()
