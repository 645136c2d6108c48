"""How far a build is, on disk: what a killed preparation goes on from.

The journal is replaced atomically after everything it speaks of has been synced. So it never
promises more than is there, and what is there beyond it is cut off on resuming.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adana.data.errors import ShardError
from adana.data.seen import WIDTH
from adana.data.writer import Mark
from adana.runs import RunError, read_json, write_json

JOURNAL = "journal.json"
SEEN = "seen.bin"
"""Digests of the documents taken so far, `WIDTH` bytes each, where copies have to be found."""

_FORMAT = 1


@dataclass(frozen=True)
class State:
    """A place in a build. The default is its beginning."""

    cursor: Any = None
    """Where the reader goes on."""
    read: int = 0
    """Documents read, those left out included."""
    empty: int = 0
    copies: int = 0
    bad: int = 0
    """Rows and files left out because they are no text."""
    first_bad: str = ""
    """Name of the first of these."""
    marks: dict[str, Mark] = field(default_factory=lambda: {"train": Mark(), "validation": Mark()})
    """Where each split is."""
    complete: bool = False
    """Whether everything has been read."""

    @property
    def taken(self) -> int:
        """Documents taken, on either side."""
        return self.read - self.empty - self.copies - self.bad


class Journal:
    """The journal of one folder."""

    def __init__(self, folder: Path) -> None:
        self._path, self._seen = folder / JOURNAL, folder / SEEN

    def load(self) -> State:
        """Return where the build is, its beginning at first; `ShardError` if damaged."""
        if not self._path.exists():
            return State()
        try:
            content = read_json(self._path)
            if content.pop("format") != _FORMAT:
                raise ValueError("another version of adana wrote it")
            marks = {
                split: Mark(**{**mark, "sums": tuple(mark["sums"])})
                for split, mark in content.pop("marks").items()
            }
            return State(**content, marks=marks)
        except (RunError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ShardError(f"{self._path} cannot be used: {error}") from error

    def seen(self, state: State) -> bytes:
        """Return the digests of the documents taken up to `state`, one after the other."""
        size = state.taken * WIDTH
        data = b""
        if size:
            with contextlib.suppress(FileNotFoundError), open(self._seen, "rb") as file:
                data = file.read(size)
        if len(data) != size:
            raise ShardError(f"{self._seen} is missing or short")
        return data

    def commit(self, state: State, digests: list[bytes], taken_before: int) -> None:
        """Write `state`, once what it speaks of is on disk; `digests` are the new ones since then.

        Raises `OSError` or `RunError` if the disk does; the old journal then still holds.
        """
        if digests:
            with open(self._seen, "r+b" if self._seen.exists() else "w+b") as file:
                file.seek(taken_before * WIDTH)
                file.write(b"".join(digests))
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        write_json(self._path, {"format": _FORMAT, **dataclasses.asdict(state)})

    def remove(self) -> None:
        """Delete the journal of a finished build."""
        for path in (self._path, self._seen):
            path.unlink(missing_ok=True)
