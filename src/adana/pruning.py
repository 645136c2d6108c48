"""Giving disk space back: what of the run directories can go, and letting it go.

Nothing is deleted that a process trains in, and planning deletes nothing: what is shown is what
would be done.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from adana.report import Listing, disk_bytes
from adana.runs import Run, RunError
from adana.train import checkpoint_step, list_checkpoints
from adana.train.checkpoint import UNFINISHED, looks_whole, remove_checkpoint

PATIENCE = 0.0
"""Seconds to wait for a run directory that is in use: none, it is simply left alone."""


@dataclass(frozen=True)
class Removal:
    """Something that can go."""

    run: Run
    name: str
    """The run as it was listed."""
    path: Path
    """A checkpoint, or the whole run directory."""
    why: str
    bytes: int
    """What it frees; files that another run shares free nothing."""

    @property
    def what(self) -> str:
        """The path below the run directory, or "everything"."""
        return "everything" if self.path == self.run.path else str(self.path.name)


def plan(
    listings: Iterable[Listing], *, keep: int = 1, failed: bool = False, empty: bool = False
) -> list[Removal]:
    """Return what can go from these runs.

    Of a finished run all whole checkpoints but the newest `keep` and those that it was told to keep
    for branches (`keep_every`); with `keep` 0 these too. Of any run that nobody trains, checkpoints
    that were never completed. With `failed`, whole directories of runs
    that failed or diverged; with `empty`, those of runs in which no step was trained. Directories
    with a problem are left alone.

    Raises:
        ValueError: `keep` is negative.
    """
    if keep < 0:
        raise ValueError(f"--keep must be at least 0, got {keep}")
    found: list[Removal] = []
    for listing in listings:
        if listing.run.held or listing.problem:
            continue
        if failed and listing.state in {"failed", "diverged"}:
            found.append(_whole(listing, f"{listing.state}: {listing.reason}".rstrip(": ")))
        elif empty and listing.step == 0 and not listing.checkpoints:
            found.append(_whole(listing, "no step was trained"))
        else:
            found += _checkpoints(listing, keep)
    return found


def carry_out(removals: Iterable[Removal]) -> tuple[int, list[str]]:
    """Delete what was planned; return the bytes freed and what was left, in words.

    A run that somebody began to train since, or whose files cannot be deleted, is left.
    """
    freed, left = 0, []
    for removal in removals:
        try:
            with removal.run.lock(PATIENCE):
                _delete(removal)
            freed += removal.bytes
        except FileNotFoundError:
            continue  # somebody else was faster
        except (RunError, OSError) as error:
            left.append(f"{removal.name}, {removal.what}: {error}")
    return freed, left


def _delete(removal: Removal) -> None:
    if removal.path == removal.run.path:
        shutil.rmtree(removal.path)
    else:
        remove_checkpoint(removal.path)


def _whole(listing: Listing, why: str) -> Removal:
    run = listing.run
    return Removal(run, listing.name, run.path, why, disk_bytes(run.path, shared=False))


def _checkpoints(listing: Listing, keep: int) -> list[Removal]:
    run = listing.run
    going = dict.fromkeys(sorted(run.checkpoints.glob(f"{UNFINISHED}*")), "never completed")
    if run.finished:
        going |= _superseded(run, keep)
    return [
        Removal(run, listing.name, path, why, disk_bytes(path, shared=False))
        for path, why in going.items()
    ]


def _superseded(run: Run, keep: int) -> dict[Path, str]:
    """Return the checkpoints that a finished run needs no more, and why.

    A damaged one counts for nothing: it neither goes nor takes the place of one that is whole.
    """
    there = list_checkpoints(run.checkpoints)
    if keep == 0:
        return dict.fromkeys(there, "of a finished run")
    whole = [path for path in there if looks_whole(path)]
    layouts = [run.config().get("layout") or {}, *run.environment().get("sessions", [])]
    multiples = {every for layout in layouts if (every := layout.get("keep_every"))}
    return {
        path: f"of a finished run; the newest {keep} stay"
        for path in whole[:-keep]
        if all(checkpoint_step(path) % every for every in multiples)
    }
