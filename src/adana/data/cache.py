"""The folder of prepared tokens: where it is, what is in it, and who is working in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.data.config import DataConfig
from adana.data.errors import ShardError
from adana.data.journal import Journal
from adana.data.shards import MANIFEST, read_manifest
from adana.data.sources.hub import full_name

BUILDING = ".building-"
"""What the names of folders begin with that are not complete."""

LEAST_DIGITS = 8
"""How many digits of a key stand for it where a mistake would cost something: fewer might be the
name of another corpus, or of a folder that is not to be deleted."""

ABANDONED_SECONDS = 7 * 24 * 3600
"""Age at which half of a build that nobody went on with is removed: a week."""

_LOCK = "lock"
_PATIENCE = 0.2


@dataclass(frozen=True)
class Entry:
    """One folder of the cache."""

    key: str
    """Its name, without what marks an unfinished one."""
    folder: Path
    bytes: int
    """What it takes on disk."""
    manifest: dict[str, Any] | None
    """Of a complete one."""
    state: str
    """``complete``, ``unfinished``, or why it cannot be used."""

    @property
    def made(self) -> float:
        """When a complete one was made, in seconds since 1970 (as `time.time` counts)."""
        return (self.folder / MANIFEST).stat().st_mtime


def entries(cache: Path, key: str = "") -> list[Entry]:
    """Return the folders of the cache, sorted by name; an absent cache has none.

    `key` is what the keys of those asked for begin with.
    """
    if not cache.is_dir():
        return []
    own = (folder for folder in sorted(cache.iterdir()) if _is_ours(folder))
    return [_entry(folder) for folder in own if _key_of(folder).startswith(key)]


def find(cache: Path, key: str) -> list[Entry]:
    """Return the folder whose key begins with `key`, and an unfinished one of the same key.

    Raises `ValueError` if `key` is empty, if there is none, or if several keys begin so.
    """
    if not key:
        raise ValueError("name a KEY; `adana data list` shows them")
    found = entries(cache, key)
    if len({entry.key for entry in found}) != 1:
        raise ValueError(
            f"{len(found)} folders of {cache} begin with {key!r}, expected one. "
            "`adana data list` shows what there is."
        )
    return found


def delete(cache: Path, key: str) -> list[Entry]:
    """Delete what `find` finds; return what it was.

    Raises `ValueError` as `find` does and for a `key` of fewer than `LEAST_DIGITS` digits,
    `ShardError` if someone is working in it.
    """
    if 0 < len(key) < LEAST_DIGITS:
        raise ValueError(
            f"{key!r} is too short to delete by: give at least {LEAST_DIGITS} digits of the KEY. "
            "`adana data list` shows them"
        )
    found = find(cache, key)
    for entry in found:
        if _is_held(entry.folder):
            raise ShardError(f"{entry.folder} is being built by another process. End it, or wait.")
        aside = cache / f"{BUILDING}deleted-{entry.folder.name.removeprefix(BUILDING)}"
        os.rename(entry.folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
    return found


def find_prepared(cache: Path, config: DataConfig, fingerprint: str | None = None) -> Path | None:
    """Return the newest complete folder that was prepared with exactly these settings, if any.

    `fingerprint` says which text it must be, wherever that lay; without one its name does.
    """

    def described(settings: dict[str, Any], text: str | None) -> dict[str, Any]:
        return {**settings, "corpus": text if fingerprint else full_name(settings["corpus"])}

    wanted = described(config.settings(), fingerprint)
    complete = [
        entry
        for entry in entries(cache)
        if (found := entry.manifest)
        and described(found["settings"], found["corpus"]["fingerprint"]) == wanted
    ]
    return newest_first(complete)[0].folder if complete else None


def newest_first(complete: Iterable[Entry]) -> list[Entry]:
    """Return complete folders in the order in which they were made, the last one first."""
    return sorted(complete, key=lambda entry: entry.made, reverse=True)


@contextlib.contextmanager
def hold(folder: Path, tell: Callable[[str, float], None]) -> Iterator[bool]:
    """Make `folder` and work in it alone; yields whether somebody else had to be waited for.

    The lock belongs to the process and goes with it, however it ends. Raises `OSError` if the
    folder cannot be made.
    """
    waited = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = open(folder / _LOCK, "w")  # noqa: SIM115  (so that only this may fail so)
        except FileNotFoundError:
            continue  # the folder has another name already
        with file:
            if not _try_lock(file.fileno()):
                if not waited:
                    tell("waiting for another process that prepares the same corpus", 0.05)
                waited = True
                time.sleep(_PATIENCE)
                continue
            if not _is_at(file.fileno(), folder / _LOCK):
                waited = True  # they finished and the folder has another name now
                continue
            try:
                yield waited
            finally:
                release(folder)
                with contextlib.suppress(OSError):
                    folder.rmdir()  # if nothing was left in it
            return


def release(folder: Path) -> None:
    """Take the lock file away: nobody works in this folder any more, or it has another name now."""
    with contextlib.suppress(OSError):
        (folder / _LOCK).unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Delete what is in a folder that we hold, so that a build can begin anew."""
    for path in folder.iterdir():
        if path.name != _LOCK:
            path.unlink()


def move_into(source: Path, target: Path, last: str) -> None:
    """Move what is in a folder that we hold to another one that we hold; the file `last` is last.

    So whoever finds that one has all of it.
    """
    names = [path.name for path in source.iterdir() if path.name not in (_LOCK, last)]
    for name in (*names, last):
        os.rename(source / name, target / name)


def remove_abandoned(cache: Path) -> None:
    """Remove half-made folders that nobody has touched for `ABANDONED_SECONDS`."""
    now = time.time()
    for left in cache.glob(f"{BUILDING}*"):
        with contextlib.suppress(OSError):
            if now - left.stat().st_mtime > ABANDONED_SECONDS and not _is_held(left):
                shutil.rmtree(left, ignore_errors=True)


def _entry(folder: Path) -> Entry:
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    key = _key_of(folder)
    if folder.name.startswith(BUILDING):
        return Entry(key, folder, size, None, f"unfinished, {_how_far(folder)}")
    try:
        return Entry(key, folder, size, read_manifest(folder), "complete")
    except ShardError as error:
        return Entry(key, folder, size, None, str(error))


def _key_of(folder: Path) -> str:
    return folder.name.removeprefix(BUILDING)


def _how_far(folder: Path) -> str:
    with contextlib.suppress(ShardError):
        tokens = sum(mark.tokens for mark in Journal(folder).load().marks.values())
        return f"{tokens:,} tokens done; the command that began it goes on"
    return "damaged"


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and (folder.name.startswith(BUILDING) or len(folder.name) == 16)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether a path still is the opened file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _is_held(folder: Path) -> bool:
    """Return whether a process is building in a folder."""
    with contextlib.suppress(OSError), open(folder / _LOCK) as file:
        return not _try_lock(file.fileno())
    return False
