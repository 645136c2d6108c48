"""The run directory: what a training writes and what every reader of results relies on.

A run is a folder::

    runs/NAME/
      config.json         the fully resolved configuration, with the version of its format
      environment.json    code version, packages, machine, corpus fingerprint
      metrics.jsonl       one JSON object a line; the record that trackers only mirror
      status.json         running / finished / interrupted / diverged / failed, and why
      checkpoints/        step-00001000/ ...
      summary.json        the final numbers, written once, when the run finished
      lock                held while a process trains here

This module knows nothing about training: it names files, writes them so that a kill at any moment
leaves the old content or the new, and gives a configuration its identity.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

CONFIG_VERSION = 2
"""Version of the ``config.json`` format; raised when a key changes its meaning."""

NOT_IDENTITY = frozenset({"layout", "provenance"})
"""Parts of a configuration that do not change what is computed: where and how the run executes
(devices, threads, micro-batches, checkpoint times), and where its numbers come from in words."""

LOCK_PATIENCE = 10.0
"""Seconds to wait for a run directory that another process holds."""

_WHAT_TO_DO = {
    "config.json": "Restore it from a backup, or delete it and run the command that the run was "
    "begun with, which writes it again",
    "environment.json": "Delete it: the next session writes it again, without those before",
    "status.json": "Delete it: the same command writes it again, from the last checkpoint",
    "summary.json": "Delete it: the same command writes it again, if the last checkpoint is there",
}
"""What helps where a file of a run directory is damaged."""

State = Literal["running", "finished", "interrupted", "diverged", "failed"]


class RunError(RuntimeError):
    """A run directory that cannot be read or used; the message names it and says what to do."""


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that decides what is computed.

    Left out are `NOT_IDENTITY` and, where a fingerprint says which tokens they are, how the data
    was named and prepared: the same tokens from another folder or tokenizer file are the same data.
    """
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    data = kept.get("data")
    if isinstance(data, Mapping) and "fingerprint" in data:
        kept["data"] = {"fingerprint": data["fingerprint"]}
    return kept


def identity(config: Mapping[str, Any]) -> str:
    """Return the 12-hex-digit identity of a resolved configuration.

    It covers every key, the seed and the corpus fingerprint included, except what `science` leaves
    out: the same science on other devices or micro-batches is the same run.
    """
    text = json.dumps(science(config), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def folder_key(content: Any) -> str:
    """Return 6 hex digits that tell one JSON value from another, for the names of folders."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:6]


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a synced temporary file and a rename."""
    temporary = path.with_name(path.name + ".part")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror or error}. "
        "Free some space or fix the permissions, then run the same command again."
    )


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity become the strings of `repr`."""
    write_bytes(path, json_text(value).encode())


def json_text(value: Any) -> str:
    """Return what `write_json` writes."""
    return json.dumps(_plain(value), indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    `RunError` names the file where it is missing or broken, and says what to do about those of a
    run directory.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RunError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read as JSON: {_why_no_json(path, error)}") from error


def _read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON file that holds an object with these keys at least."""
    content = read_json(path)
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        what = f"an object with {', '.join(keys)}" if keys else "an object"
        raise _damaged(path, f"is not that of a run: it does not hold {what}")
    return content


def _why_no_json(path: Path, error: Exception) -> str:
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            return "it is empty"
    return str(error)


def _damaged(path: Path, what: str) -> RunError:
    advice = _WHAT_TO_DO.get(path.name)
    return RunError(f"{path} {what}. {advice}" if advice else f"{path} {what}")


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration in a config.json.

    Raises `RunError` if it is missing, unreadable or in a format this version does not know.
    """
    config = read_json(path)
    version = config.get("version") if isinstance(config, dict) else None
    if version != CONFIG_VERSION:
        raise RunError(
            f"{path} has format version {version!r}, this adana reads version {CONFIG_VERSION}. "
            "Read it with the adana that wrote it (environment.json names the version), or train "
            "into a new directory."
        )
    return dict(config)


def _plain(value: Any) -> Any:
    """Replace non-finite floats, which JSON does not have, by strings that say what they were."""
    if isinstance(value, float) and value - value != 0.0:
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _row(line: str) -> dict[str, Any] | None:
    """Return the row of the metrics that a line holds, or None if it is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


@dataclass(frozen=True)
class Run:
    """One run directory. Cheap to create: nothing is read until it is asked for."""

    path: Path

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """The folder that holds the checkpoints."""
        return self.path / "checkpoints"

    def create(self) -> None:
        """Make the directory if it is not there; `RunError` if that is impossible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def config(self) -> dict[str, Any]:
        """Return the resolved configuration.

        Raises `RunError` if it is missing, unreadable or in a format this version does not know.
        """
        return read_config(self.path / "config.json")

    def environment(self) -> dict[str, Any]:
        """Return what is known of the machine and code that wrote this run; empty if absent."""
        path = self.path / "environment.json"
        return _read_object(path) if path.exists() else {}

    def status(self) -> dict[str, Any]:
        """Return ``{"state": ..., "reason": ..., "step": ...}``; state ``"new"`` if none yet."""
        path = self.path / "status.json"
        if not path.exists():
            return {"state": "new", "reason": "", "step": 0}
        return _read_object(path, "state", "reason", "step")

    def summary(self) -> dict[str, Any] | None:
        """Return the final numbers, or None while the run has not finished."""
        path = self.path / "summary.json"
        return _read_object(path) if path.exists() else None

    @property
    def finished(self) -> bool:
        """Whether the run came to its planned end, with a summary to show for it."""
        return self.status()["state"] == "finished" and self.summary() is not None

    @property
    def concluded(self) -> bool:
        """Whether there is nothing left to train: the run finished or diverged.

        False where the status is damaged, which a training mends.
        """
        try:
            state = self.status()["state"]
        except RunError:
            return False
        return state == "diverged" or (state == "finished" and self.summary() is not None)

    def set_status(self, state: State, *, step: int, reason: str = "") -> None:
        """Record the state, the last completed step and, where there is one, the reason."""
        write_json(self.path / "status.json", {"state": state, "reason": reason, "step": step})

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``metrics.jsonl``, skipping a last line that a kill cut short."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                row = _row(line)
                if row is not None:
                    yield row
                elif line.endswith("\n"):
                    raise RunError(
                        f"{path} has a line that is not JSON: {line[:80]!r}, line {number}. "
                        "Restore the file from a backup, or delete that line: the weights do not "
                        "depend on it"
                    )

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row and see it onto the disk: a checkpoint must not outlive its metrics.

        Raises `RunError` if it cannot be written; nothing of it is left in the file then.
        """
        path = self.path / "metrics.jsonl"
        line = json.dumps(_plain(row), allow_nan=False) + "\n"
        before = None
        try:
            with open(path, "a", encoding="utf-8") as file:
                before = os.fstat(file.fileno()).st_size
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if before is not None:
                with contextlib.suppress(OSError):
                    os.truncate(path, before)
            raise _cannot_write(path, error) from error

    def set_metrics_aside(self) -> Path:
        """Rename ``metrics.jsonl`` to ``metrics.jsonl.1``, or the next number that is free."""
        path = self.path / "metrics.jsonl"
        names = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
        aside = next(name for name in names if not name.exists())
        try:
            path.rename(aside)
        except OSError as error:
            raise _cannot_write(aside, error) from error
        return aside

    def truncate_metrics(self, step: int) -> None:
        """Drop the rows past `step`: a resumed run writes them again, bit for bit."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_bytes(self.path / "metrics.jsonl", text.encode())

    @property
    def held(self) -> bool:
        """Whether a process trains here at this moment."""
        try:
            with open(self.path / "lock") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _open_lock(self) -> IO[str]:
        path = self.path / "lock"
        try:
            return open(path, "w")
        except FileNotFoundError:
            raise  # the directory is gone
        except OSError as error:
            raise _cannot_write(path, error) from error

    @contextlib.contextmanager
    def lock(self, patience: float | None = None) -> Iterator[None]:
        """Hold the directory for one training process; `RunError` if another one has it.

        Waits `patience` seconds first, by default `LOCK_PATIENCE`: a process that was just killed
        may still be ending.
        """
        with self._open_lock() as file:
            deadline = time.monotonic() + (LOCK_PATIENCE if patience is None else patience)
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise RunError(
                            f"{self.path} is in use by another process. Wait for it to end, "
                            "or train into another directory."
                        ) from error
                    time.sleep(0.1)
                except OSError as error:
                    raise RunError(
                        f"{self.path} cannot be locked: {error.strerror or error}. Put run "
                        "directories on a file system with locks (flock)."
                    ) from error
            yield


def find_runs(root: Path, keep: Callable[[Run], bool] | None = None) -> list[Run]:
    """Return the runs below `root`, sorted by name, optionally only those that `keep` accepts."""
    if not root.is_dir():
        return []
    runs = [Run(path.parent) for path in sorted(root.rglob("config.json"))]
    return [run for run in runs if keep is None or keep(run)]
