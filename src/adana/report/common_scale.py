"""Which runs have losses on one scale: of the same text, in the same tokens, evaluated alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adana.report.records import Record
from adana.runs import Run, RunError

_MOST_NAMED = 3
"""Runs of a group that an error names."""


def _data(key: str) -> Any:
    return lambda config: (config.get("data") or {}).get(key)


_SHARED = {
    "data": lambda config: _data("fingerprint")(config) or _data("corpus")(config),
    "vocabulary": lambda config: (
        (config.get("model") or {}).get("vocab_size") or _data("vocab_size")(config)
    ),
    "evaluated tokens": lambda config: config.get("eval_tokens"),
    "sequence length": lambda config: (config.get("model") or {}).get("sequence_length"),
}
"""What losses on one scale have in common, by its name in messages."""


def alike(runs: Iterable[Run], example: Run) -> list[Run]:
    """Return the runs whose losses have a common scale with those of `example`."""
    wanted = _shared(example.config())
    return [run for run in runs if _shared(run.config()) == wanted]


def check_common_scale(records: Sequence[Record]) -> None:
    """Raise `RunError`, which lists the runs that go together, unless all of them do."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_shared(record.config), []).append(record)
    if len(groups) < 2:
        return
    differ = [len(set(values)) > 1 for values in zip(*groups, strict=True)]
    found = []
    for shared, own in groups.items():
        what = ", ".join(
            f"{name} {_words(name, value, own[0].config)}"
            for name, value, differs in zip(_SHARED, shared, differ, strict=True)
            if differs
        )
        more = ", ..." if len(own) > _MOST_NAMED else ""
        found.append(f"{len(own)} of {what} ({', '.join(r.name for r in own[:_MOST_NAMED])}{more})")
    raise RunError(
        f"these {len(records)} runs cannot be in one study: losses on different data, vocabularies "
        f"or evaluations cannot be compared. There are {'; '.join(found)}. Name the runs of one of "
        f"them, or take those that go with one: --like {records[0].name}"
    )


def _shared(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(read(config) for read in _SHARED.values())


def _words(name: str, value: Any, config: Mapping[str, Any]) -> str:
    """Say a value; of data the corpus, and enough of the fingerprint to tell two texts apart."""
    corpus = _data("corpus")(config)
    return f"{corpus} ({str(value)[:6]})" if name == "data" and corpus != value else f"{value}"
