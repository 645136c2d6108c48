"""Run directories as a report reads them: each training once, and what to doubt about them.

A directory that cannot be read is left out and named, for the others are as good as before. What
somebody changed by hand is named too: a run's name holds the identity of its configuration, and
`metrics.jsonl` is the record that `summary.json` was made of.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from adana.report.records import Record, number, read_record
from adana.runs import Run, RunError

NAME = re.compile(r"-T\d+-s\d+-([0-9a-f]{12})$")
"""The end of a name that holds an identity: ``adana-T2000-s0-0123456789ab``."""

NAMED = 6
"""Runs with the same fault that are named before they are only counted."""

CLOSE = 1e-9
"""Relative difference of two losses that are one number, written twice."""


class Reading(NamedTuple):
    """What was read of run directories."""

    records: tuple[Record, ...]
    remarks: tuple[str, ...]
    """In sentences: what was left out, and what is doubtful about the rest."""


def read_runs(runs: Iterable[Run]) -> Reading:
    """Read every run, each training once; say what was left out and what does not fit together.

    Of copies of one training that ended alike, the first counts. Copies that did not are all
    returned: which is right, only a person can say.

    Raises:
        RunError: there are runs, and none of them can be read.
    """
    found: dict[tuple[Any, ...], Record] = {}
    unreadable, copies = [], []
    for run in runs:
        try:
            with explained(run):
                record = read_record(run)
        except RunError as error:
            unreadable.append(f"Left out, it cannot be read: {error}")
            continue
        key = (record.identity, record.state, record.last_step, number(record.summary, "val_loss"))
        if key in found:
            copies.append(
                f"{record.place} is the same training as {found[key].place} and ended alike: it "
                "counts once."
            )
        found.setdefault(key, record)
    if unreadable and not found:
        raise RunError("none of the runs can be read:\n" + "\n".join(_some(unreadable)))
    records = tuple(found.values())
    return Reading(records, (*_some(unreadable), *_some(copies), *doubts(records)))


@contextlib.contextmanager
def explained(run: Run) -> Iterator[None]:
    """Raise `RunError`, with what to do, where a file of `run` has not the content it should have.

    That is any error of a block that reads them: files can be changed by hand.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"a file of {run.path} has not what adana writes there "
            f"({type(error).__name__}: {error}). Put it back as it was, or train the run again"
        ) from error


def doubts(records: Sequence[Record]) -> list[str]:
    """Return what of these runs does not fit together, in sentences."""
    renamed = [text for record in records if (text := misnamed(record.place, record.identity))]
    changed = [text for record in records if (text := _contradiction(record))]
    return [*_some(renamed), *_some(changed), *_worse_than_guessing(records)]


def misnamed(place: str, identity: str) -> str:
    """Say so if a run's name holds the identity of another configuration than it has; else empty.

    `place` ends with the name of the directory. A name of another form holds no identity.
    """
    held = NAME.search(place)
    if held is None or held[1] == identity:
        return ""
    return (
        f"{place} was changed after it was made: its name holds the identity {held[1]}, and its "
        f"config.json has {identity}. Put the file back as it was, or leave the run out."
    )


def _contradiction(record: Record) -> str:
    """Say so if the summary has another final loss than the record of the training."""
    last = record.evaluations[-1] if record.evaluations else None
    if not record.finished or last is None or last.step != record.steps:
        return ""
    if math.isclose(last.loss, record.loss, rel_tol=CLOSE):
        return ""
    return (
        f"{record.place} contradicts itself: its summary.json says a final loss of "
        f"{record.loss:.6g}, the last evaluation in its metrics.jsonl {last.loss:.6g}. The first "
        "is what counts here; put the file back as it was, or leave the run out."
    )


def guessing(config: Mapping[str, Any]) -> float | None:
    """Return ln V, the loss (nats a token) of guessing among all tokens; None if V is not known.

    `config` is the configuration of a run, as its ``config.json`` has it.
    """
    parts = (config.get("model") or {}, config.get("data") or {})
    size = next((size for part in parts if (size := number(part, "vocab_size"))), None)
    return math.log(size) if size and size > 1 else None


def best_of_nothing(loss: float, guess: float | None) -> str:
    """Say so if the best loss of several values is above that of guessing; else, or unknown, empty.

    Such a best value is the best of trainings that all learned nothing.
    """
    if guess is None or not loss > guess:
        return ""
    return (
        f"the best loss, {loss:.4g}, is worse than guessing, above ln V = {guess:.3g}: none of "
        "these trainings learned anything, so none of their values is good"
    )


def _worse_than_guessing(records: Sequence[Record]) -> list[str]:
    """Name the labels with runs that finished with a loss above that of guessing."""
    found = []
    for label in dict.fromkeys(record.label for record in records):
        own = [record for record in records if record.label == label and record.finished]
        bad = [r for r in own if (known := guessing(r.config)) is not None and r.loss > known]
        if bad:
            worst = max(bad, key=lambda record: record.loss)
            found.append(
                f"{label}: {len(bad)} of {len(own)} finished runs end worse than guessing, above "
                f"ln V = {guessing(worst.config):.3g} (up to {worst.loss:.4g}): they learned "
                "nothing, so their losses say nothing of a best rate either."
            )
    return found


def _some(texts: Sequence[str]) -> list[str]:
    """Return the first texts, and how many more there are."""
    more = len(texts) - NAMED
    return [*texts[:NAMED], *([f"And {more} more runs like the last."] if more > 0 else [])]
