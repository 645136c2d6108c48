"""Several files of tokens seen as one array, read in place.

All files but the last hold equally many tokens, so that finding one is a division. The files are
memory-mapped and never loaded. Reading where a mapped file has ended since would end the process at
once (SIGBUS), so every read asks for its length first.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adana.data.errors import ShardError


class _File:
    """The tokens of one file, mapped."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        """Raise `OSError` or `ValueError` if the file cannot be mapped, as an empty one cannot."""
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._path, self._bytes = path, len(self._map)
        self._tokens = np.frombuffer(self._map, dtype=dtype, count=self._bytes // dtype.itemsize)

    def __len__(self) -> int:
        return len(self._tokens)

    def whole(self) -> np.ndarray:
        """Return the tokens in place; `ShardError` if the file is shorter than when it was mapped.

        The length is that of the file that was mapped, whatever has its name now.
        """
        now = self._map.size()
        if now < self._bytes:
            raise ShardError(
                f"{self._path} was cut from {self._bytes} bytes to {now} while it was being read. "
                f"Find out what writes there, delete the folder {self._path.parent} and run again: "
                "it is built anew from the corpus, and a training goes on from its last checkpoint."
            )
        return self._tokens


class Tokens:
    """Token ids ``(n,)`` over one or more memory-mapped files; read-only.

    Has a length, a `dtype`, indexing by number, slice and integer array, and `gather` for many runs
    of tokens at once. `numpy.asarray` makes a copy of all of it, unless it is in one file.
    """

    def __init__(self, paths: Sequence[Path], dtype: np.dtype, per_file: int) -> None:
        """Map `paths`, of which all but the last hold `per_file` tokens.

        Raises `OSError` for a file that cannot be opened, and `ValueError` for one that is empty or
        of another length. Reading raises `ShardError` for a file that was cut short since.
        """
        self.dtype = np.dtype(dtype)
        self._paths = list(paths)
        self._parts = [_File(path, self.dtype) for path in paths]
        self._per_file = per_file
        for path, part in zip(paths[:-1], self._parts, strict=False):
            if len(part) != per_file:
                raise ValueError(f"{path} holds {len(part)} tokens, expected {per_file}")
        self._length = per_file * (len(paths) - 1) + len(self._parts[-1])

    def __reduce__(self) -> tuple[Any, ...]:
        """Map the files anew where this is unpickled."""
        return Tokens, (self._paths, self.dtype, self._per_file)

    def __len__(self) -> int:
        return self._length

    @property
    def shape(self) -> tuple[int]:
        """``(n,)``, as an array has it."""
        return (self._length,)

    def __getitem__(self, index: Any) -> Any:
        """Return one token, or an array of those in a slice or under integer indices.

        A slice within one file is a view of it, which is read when it is used: copy what is kept.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(self._length)
            if step == 1:
                return self._run(start, max(start, stop))
            index = np.arange(start, stop, step)
        where = np.asarray(index)
        if where.ndim == 0:
            return self._run(*_one(int(where), self._length))[0]
        return self._at(where.astype(np.int64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all tokens as one array."""
        whole = self._run(0, self._length)
        return whole if dtype is None else whole.astype(dtype)

    def gather(self, starts: np.ndarray, length: int) -> np.ndarray:
        """Return the runs of `length` tokens from `starts`: int64 ``(len(starts), length)``.

        Raises `IndexError` if a run leaves the tokens.
        """
        if len(starts) and (int(starts.min()) < 0 or int(starts.max()) + length > self._length):
            raise IndexError(
                f"runs of {length} tokens from {int(starts.min())} to {int(starts.max())} leave "
                f"the {self._length} there are"
            )
        result = np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(result, starts.tolist(), strict=True):
            number, first = divmod(start, self._per_file)
            if first + length <= self._per_file:
                row[:] = self._parts[number].whole()[first : first + length]
            else:
                row[:] = self._run(start, start + length)
        return result

    def _run(self, start: int, stop: int) -> np.ndarray:
        """Return the tokens from `start` to `stop`; a view where one file holds them."""
        if start >= stop:
            return np.empty(0, dtype=self.dtype)
        first, last = start // self._per_file, (stop - 1) // self._per_file
        parts = [
            self._parts[number].whole()[
                max(0, start - number * self._per_file) : stop - number * self._per_file
            ]
            for number in range(first, last + 1)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _at(self, where: np.ndarray) -> np.ndarray:
        """Return the tokens at integer positions of any shape; negative ones count from the end."""
        where = np.where(where < 0, where + self._length, where)
        if where.size and (where.min() < 0 or where.max() >= self._length):
            raise IndexError(f"positions outside the {self._length} tokens")
        number, inside = np.divmod(where, self._per_file)
        result = np.empty(where.shape, dtype=self.dtype)
        for one in np.unique(number):
            here = number == one
            result[here] = self._parts[one].whole()[inside[here]]
        return result


def _one(index: int, length: int) -> tuple[int, int]:
    """Return the start and stop of a single position."""
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise IndexError(f"position {index} is outside the {length} tokens")
    return place, place + 1


def gather(tokens: np.ndarray | Tokens, starts: np.ndarray, length: int) -> np.ndarray:
    """Return runs of `length` tokens from `starts` of an array or of files: int64, 2-D."""
    if isinstance(tokens, Tokens):
        return tokens.gather(starts, length)
    result = np.empty((len(starts), length), dtype=np.int64)
    plain = np.asarray(tokens)
    for row, start in zip(result, starts.tolist(), strict=True):
        row[:] = plain[start : start + length]
    return result
