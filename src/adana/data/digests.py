"""Checksums of large files of the user's, remembered: terabytes are not hashed at every start."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path
from typing import Any

from adana.data.documents import unreadable
from adana.runs import RunError, read_json, write_json

REMEMBERED = "digests.json"
"""The file in the cache that remembers them; it may be deleted."""

LARGE_BYTES = 64 << 20
"""Files below this are hashed every time."""

SETTLED_SECONDS = 2.0
"""A file changed more recently than this is not trusted by its time: the clock of a file system is
coarse, and another change might leave the same time."""


class FileDigests:
    """SHA-256 of files, kept in a cache folder by path, size, modification time and inode."""

    def __init__(self, cache: Path | None = None) -> None:
        """Remember in `cache`; `None` remembers nothing."""
        self._path = cache / REMEMBERED if cache else None
        self._known: dict[str, Any] = {}
        if self._path:
            with contextlib.suppress(RunError):
                found = read_json(self._path)
                self._known = found if isinstance(found, dict) else {}

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a file, in hexadecimal; `CorpusError` if it cannot be read."""
        try:
            about = path.stat()
            stamp = [about.st_size, about.st_mtime_ns, about.st_ino]
            *known, digest = self._known.get(str(path.resolve()), [None])
            if known == stamp:
                return str(digest)
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(path, error) from error
        settled = time.time() - about.st_mtime > SETTLED_SECONDS
        if self._path and about.st_size >= LARGE_BYTES and settled:
            self._known[str(path.resolve())] = [*stamp, digest]
            self._remember(self._path)
        return str(digest)

    def _remember(self, path: Path) -> None:
        with contextlib.suppress(RunError, OSError):  # forgetting only costs time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, self._known)
