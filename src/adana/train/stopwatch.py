"""How fast a run trains, without the time it spends on other things."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Stopwatch:
    """Tokens per second since the last question, pauses left out."""

    def __init__(self) -> None:
        self._start, self._tokens = time.perf_counter(), 0

    def count(self, tokens: int) -> None:
        """Add tokens that were just trained on."""
        self._tokens += tokens

    def rate(self) -> float:
        """Return tokens per second since the last call, and start over."""
        now = time.perf_counter()
        rate = self._tokens / max(now - self._start, 1e-9)
        self._start, self._tokens = now, 0
        return rate

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time spent inside."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._start += time.perf_counter() - begin
