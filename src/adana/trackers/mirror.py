"""Feeding trackers, so that they have each row and can never hurt a training.

How far each tracker is known to have the rows is kept in ``trackers.json`` of the run directory:
after a resumption the rows that are trained again are not sent again, and a tracker that is added,
or failed, halfway catches up from the record. A tracker that queues rows is known to have them when
it was finished; after a kill it gets those since the end of the last session again, under the same
steps: a row twice does no harm, a row lost does.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from adana.runs import Run, RunError, read_json, write_json
from adana.trackers.base import Tracker

PROGRESS = "trackers.json"
"""File in the run directory that says which rows each tracker has for certain."""


class _Position(NamedTuple):
    """How far a tracker has the rows: up to the `rows`-th row of `step`."""

    step: int = -1
    rows: int = 0


class _Feed:
    """One tracker, and where it stands in the rows of the run."""

    def __init__(self, tracker: Tracker, certain: _Position) -> None:
        self.tracker, self.broken = tracker, False
        self.sent = self.certain = certain
        self._passed = _Position()

    def forget(self, step: int) -> None:
        """Count no row past `step` as sent."""
        self.sent = min(self.sent, _Position(step, sys.maxsize))
        self.certain = min(self.certain, self.sent)

    def pass_row(self, row: Mapping[str, Any]) -> bool:
        """Log a row unless the tracker has it; return whether it was logged."""
        step = int(row["step"])
        rows = self._passed.rows + 1 if step == self._passed.step else 1
        self._passed = _Position(step, rows)
        if self._passed <= self.sent:
            return False
        self.tracker.log(row)
        self.sent = self._passed
        if not self.tracker.queues:
            self.certain = self.sent
        return True

    def finish(self, state: str, summary: Mapping[str, Any] | None) -> None:
        """End the session; the tracker has every row then."""
        self.tracker.finish(state, summary)
        self.certain = self.sent


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


class Mirror:
    """Passes the rows of `run` on to `trackers`. Used by one process of a run.

    A tracker that raises is left alone from then on, and `on_message` is told once, by default as a
    warning. Nothing here raises, whatever trackers do.
    """

    def __init__(
        self, run: Run, trackers: Sequence[Tracker], on_message: Callable[[str], None] = _warn
    ) -> None:
        self.run, self.on_message = run, on_message
        saved = _read_progress(run) if trackers else {}
        self._feeds = [_Feed(each, saved.get(each.name, _Position())) for each in trackers]

    def start(self, config: Mapping[str, Any], resume_step: int = -1) -> None:
        """Begin a session that goes on after `resume_step`, -1 for one from the beginning.

        Rows that ``metrics.jsonl`` has and a tracker lacks are passed on first; call this when the
        rows past `resume_step` have been dropped there.
        """
        for feed in self._feeds:
            self._try(feed, functools.partial(self._start, feed, config, resume_step))
        self._save()

    def row(self, row: Mapping[str, Any]) -> None:
        """Pass on one row, after it was appended to ``metrics.jsonl``."""
        for feed in self._feeds:
            self._try(feed, functools.partial(feed.pass_row, row))
        self._save()

    def finish(self, state: str, summary: Mapping[str, Any] | None = None) -> None:
        """End the session in `state`; a later one may go on."""
        for feed in self._feeds:
            self._try(feed, functools.partial(feed.finish, state, summary))
        self._save()

    def _start(self, feed: _Feed, config: Mapping[str, Any], resume_step: int) -> None:
        feed.tracker.start(self.run.path, config, resume_step)
        if feed.tracker.forgets:
            feed.forget(resume_step)
        for row in self.run.metrics():
            feed.pass_row(row)

    def _try(self, feed: _Feed, action: Callable[[], Any]) -> None:
        if feed.broken:
            return
        try:
            action()
        except Exception as error:
            feed.broken = True
            name = feed.tracker.name
            self.on_message(
                f"the tracker {name} failed and is left alone ({type(error).__name__}: {error}). "
                f"Nothing is lost; later: adana runs mirror {self.run.name} --to {name}"
            )

    def _save(self) -> None:
        if not self._feeds:
            return
        before = _read_progress(self.run)
        content = before | {feed.tracker.name: feed.certain for feed in self._feeds}
        if content == before:
            return
        try:
            write_json(
                self.run.path / PROGRESS, {name: at._asdict() for name, at in content.items()}
            )
        except RunError as error:
            if not all(feed.broken for feed in self._feeds):
                self.on_message(f"trackers are left alone: {error}")
            for feed in self._feeds:
                feed.broken = True


def _read_progress(run: Run) -> dict[str, _Position]:
    """Return which rows trackers have; nothing where the file is missing or broken."""
    try:
        content = read_json(run.path / PROGRESS)
        return {name: _Position(int(at["step"]), int(at["rows"])) for name, at in content.items()}
    except (RunError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def replay(
    run: Run, trackers: Sequence[Tracker], on_message: Callable[[str], None] = _warn
) -> list[str]:
    """Fill `trackers` from the record of a run that nobody trains now.

    Those that can forget are written anew; the others get what they lack. Returns the names of
    those that took everything. Raises `RunError` if the run is in use, or its files cannot be read.
    """
    if run.held:
        raise RunError(
            f"{run.path} is being trained now, and would be mirrored twice. Wait for it to end."
        )
    config, status = run.config(), run.status()
    mirror = Mirror(run, trackers, on_message)
    mirror.start(config, resume_step=-1)
    mirror.finish(status["state"], run.summary())
    return [feed.tracker.name for feed in mirror._feeds if not feed.broken]
