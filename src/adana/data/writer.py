"""Writing one split: files of equal length, and marks to which a killed process can go back.

A file has its final name only when it is full and synced. The open one ends in ``.part``; a mark
says how many of its tokens count and what their checksum is, so that whatever was written after the
mark is cut off again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from adana.data.errors import ShardError
from adana.data.shards import shard_name

PART = ".part"
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Mark:
    """A place in a split: everything before it is on disk."""

    tokens: int = 0
    """Tokens of the split."""
    documents: int = 0
    bytes: int = 0
    """Bytes of text that the tokens stand for."""
    sums: tuple[str, ...] = field(default=())
    """SHA-256 of each file that is full."""
    part_sum: str = hashlib.sha256().hexdigest()
    """SHA-256 of the tokens of the open file."""


class SplitWriter:
    """Appends documents to the files of a split. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        dtype: np.dtype,
        end: int,
        shard_tokens: int,
        mark: Mark,
    ) -> None:
        """Go on at a mark: full files are checked, what was written later is cut off.

        Tokens are of type `dtype`, a file has `shard_tokens` of them, and `end` follows each
        document.

        Raises `ShardError`, which names the file, if what the mark promises is not there.
        """
        self._folder, self._split, self._dtype = folder, split, np.dtype(dtype)
        self._shard_tokens = shard_tokens
        self._end = np.array([end], dtype=dtype)
        self._tokens, self.documents, self.bytes = mark.tokens, mark.documents, mark.bytes
        self._sums = list(mark.sums)
        self._file, self._hash = self._reopen(mark)

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # a full disk was reported when it happened
            self._file.close()

    @property
    def tokens(self) -> int:
        """Tokens of the split so far, ends of text included."""
        return self._tokens

    def append(self, ids: np.ndarray, size: int) -> None:
        """Append a document of `size` bytes of text, and the end of text after it.

        Raises `ValueError` for an id that the type of the tokens cannot hold.
        """
        if len(ids) and ids.max() > np.iinfo(self._dtype).max:
            raise ValueError(
                f"the token {ids.max()} does not fit into the {self._dtype.name} of the files: the "
                "tokenizer has more tokens than it says. Use another --tokenizer."
            )
        rest = np.concatenate([ids.astype(self._dtype), self._end])
        while len(rest):
            room = self._shard_tokens - self._tokens % self._shard_tokens
            data = rest[:room].tobytes()
            self._file.write(data)
            self._hash.update(data)
            self._tokens += min(room, len(rest))
            if self._tokens % self._shard_tokens == 0:
                self._complete()
            rest = rest[room:]
        self.documents += 1
        self.bytes += size

    def mark(self) -> Mark:
        """Return where we are, without touching the disk; it holds after `sync`."""
        return Mark(
            self._tokens,
            self.documents,
            self.bytes,
            tuple(self._sums),
            self._hash.hexdigest(),
        )

    def sync(self) -> None:
        """Have everything so far on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> dict[str, str]:
        """Give the last file its name too; return the SHA-256 of every file by name."""
        if self._tokens % self._shard_tokens:
            self._complete()
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            self._part(len(self._sums)).unlink()
        return {shard_name(self._split, i): value for i, value in enumerate(self._sums)}

    def _complete(self) -> None:
        """Close the open file under its final name and open the next."""
        self.sync()
        self._file.close()
        number = len(self._sums)
        os.replace(self._part(number), self._folder / shard_name(self._split, number))
        self._sums.append(self._hash.hexdigest())
        self._file = open(self._part(number + 1), "wb")  # noqa: SIM115  (closed by __exit__)
        self._hash = hashlib.sha256()

    def _reopen(self, mark: Mark) -> tuple[IO[bytes], Any]:
        """Check what the mark promises and return the open file, with the hash of its content."""
        for number, expected in enumerate(mark.sums):
            path = self._folder / shard_name(self._split, number)
            if _hash_file(path, self._shard_tokens * self._dtype.itemsize)[0] != expected:
                raise _damaged(path)
        number = len(mark.sums)
        part, full = self._part(number), self._folder / shard_name(self._split, number)
        if full.exists():  # filled after the mark
            os.replace(full, part)
        for later in self._folder.glob(f"{self._split}-*"):
            if later.name > part.name:
                later.unlink()
        size = (mark.tokens - number * self._shard_tokens) * self._dtype.itemsize
        file = open(part, "r+b" if part.exists() else "w+b")  # noqa: SIM115
        digest, running = _hash_file(part, size)
        if digest != mark.part_sum:
            file.close()
            raise _damaged(part)
        file.truncate(size)
        file.seek(size)
        return file, running

    def _part(self, number: int) -> Path:
        return self._folder / (shard_name(self._split, number) + PART)


def _hash_file(path: Path, size: int) -> tuple[str, Any]:
    """Return the SHA-256 of the first `size` bytes, and the hash object to go on with."""
    running = hashlib.sha256()
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        while size and (block := file.read(min(size, _BLOCK))):
            running.update(block)
            size -= len(block)
    return running.hexdigest() if size == 0 else "", running


def _damaged(path: Path) -> ShardError:
    return ShardError(f"{path} is not what was written there: it is missing, short or changed")
