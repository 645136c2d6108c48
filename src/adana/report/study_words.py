"""What a study found, in sentences, and what its reader has to know before believing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adana.laws.multiplier import LEVEL
from adana.report import words
from adana.report.cells import Scale
from adana.report.choice import unfinished
from adana.report.compare import Estimate
from adana.report.study import Result, Study
from adana.report.study_laws import Worth

FEWEST_SEEDS = 2
"""With fewer seeds a cell says nothing about its noise."""

TOLD = 0.03
"""By how much M with the head has to differ from M without to be told in the verdict."""

NAMED = 6
"""Runs a warning names before it only counts."""


def worth(value: Worth | None) -> str:
    """Return ``1.34 (1.21 to 1.47)``, with open ends in words, or ``cannot say``."""
    if value is None:
        return words.NONE
    interval = _interval(value)
    if value.value is None:
        return interval or "cannot say"
    said = ", ".join(filter(None, (interval, "" if value.inside else "extrapolated")))
    return f"{value.value:.2f} ({said})" if said else f"{value.value:.2f}"


def _interval(value: Worth) -> str:
    if value.low is None:
        return "" if value.high is None else f"< {value.high:.2f}"
    return f"> {value.low:.2f}" if value.high is None else f"{value.low:.2f} to {value.high:.2f}"


def separable(result: Result) -> str:
    """Return whether an optimizer can be told from the baseline at this size: the interval of M.

    ``better`` and ``worse`` only where the interval lies on one side of 1.
    """
    found = result.worth
    if found is None:
        return words.NONE
    if found.low is None and found.high is None:
        return "cannot say" if found.value is None else "not separable"
    if not found.separable:
        return "not separable"
    return "worse" if found.low is None or (found.high is not None and found.high < 1) else "better"


def verdict(study: Study) -> tuple[str, ...]:
    """Return a sentence for each candidate, and what they rest on."""
    found = [_verdict(study, label) for label in study.labels[1:]]
    if not found:
        found = [f"There are only runs of {study.baseline}: nothing is compared with it."]
    found += _with_head(study)
    counts = {len(result.choice.losses) for result in study.results if result.choice.losses}
    found += words.caution([r.difference for r in study.results if r.difference is not None])
    found += _by_chance(study)
    if counts:
        low, high = min(counts), max(counts)
        seeds = words.seeds(low) if low == high else f"{low} to {high} seeds"
        found.append(
            f"It rests on {seeds} for each optimizer and size, at sizes of "
            f"{_span(study)} parameters without embeddings. Nothing here says what happens at "
            "larger ones."
        )
    return tuple(found)


def _by_chance(study: Study) -> Iterable[str]:
    """Say how many of so many intervals exclude 1 where nothing is there."""
    made = [r.worth for r in study.results if r.worth and (r.worth.low or r.worth.high)]
    if len(made) > 1:
        expected = len(made) * (1 - LEVEL)
        yield (
            f"{len(made)} multipliers have intervals of {100 * LEVEL:g} %: were all optimizers "
            f"equal, {expected:.2g} of these would exclude 1 by chance."
        )


def _with_head(study: Study) -> Iterable[str]:
    """Say what M is with the head counted, where that is another number."""
    pairs: dict[str, list[tuple[Scale, float, float]]] = {}
    for result in study.results:
        own, other = result.worth, result.worth_with_head
        if own and other and own.value is not None and other.value is not None:
            found = pairs.setdefault(result.label, [])
            found.append((result.scale, own.value, other.value))
    if any(abs(m / own - 1) > TOLD for found in pairs.values() for _, own, m in found):
        told = "; ".join(
            f"{label} {words_list([f'{m:.2f} at {scale.called}' for scale, _, m in found])}"
            for label, found in pairs.items()
        )
        yield (
            "Counting the FLOPs of the output head too, 6 (P + V d) D in place of 6 P D, M is "
            f"another: {told}."
        )


def _span(study: Study) -> str:
    rested_on = [scale for scale in study.scales if scale.parameters is not None]
    names = list(dict.fromkeys(scale.name for scale in rested_on or study.scales))
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _verdict(study: Study, label: str) -> str:
    own = [result for result in study.results if result.label == label]
    told = [result for result in own if result.worth is not None]
    if not told:
        gaps = [result for result in own if result.difference is not None]
        if not gaps:
            return f"{label} shares no finished size and seed with {study.baseline}."
        return f"{label} against {study.baseline}: " + "; ".join(map(_gap, gaps)) + "."
    kinds: dict[str, list[str]] = {}
    for result in told:
        kinds.setdefault(separable(result), []).append(_told(result))
    texts = {
        "better": "needs less compute than {} for the same loss at {}",
        "worse": "needs more compute than {} at {}",
        "not separable": "cannot be told from {} at {}",
        "cannot say": "cannot be placed on the curve of {} at {}",
    }
    parts = [
        text.format(study.baseline, words_list(kinds[kind]))
        for kind, text in texts.items()
        if kind in kinds
    ]
    return f"{label} {'; it '.join(parts)}."


def _told(result: Result) -> str:
    """Return ``147k (M 1.34, 1.21 to 1.47)``."""
    found = result.worth
    if found is None:
        return result.scale.called
    value = "" if found.value is None else f"{found.value:.2f}"
    said = ", ".join(filter(None, (value, _interval(found))))
    return f"{result.scale.called} (M {said})" if said else result.scale.called


def _gap(result: Result) -> str:
    gap = result.difference
    assert gap is not None
    side = "below" if gap.mean < 0 else "above"
    size = words.estimate(Estimate(abs(gap.mean), gap.error, gap.count))
    return f"{size} {side} at {result.scale.called} ({words.seeds(gap.count)})"


def words_list(items: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def warnings(study: Study) -> tuple[str, ...]:
    """Return what weakens the comparison, the gravest first."""
    return (
        *study.remarks,
        *_unequal_trials(study),
        *_edges(study),
        *_lost(study),
        *_seeds(study),
        *_elsewhere(study),
        *_settings(study),
        *_left_out(study),
        *_machines(study),
    )


def _unequal_trials(study: Study) -> Iterable[str]:
    found: dict[str, list[str]] = {}
    for scale in study.scales:
        counts = {result.label: len(result.choice.grid) for result in study.at(scale)}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{label} {count}" for label, count in counts.items())
            found.setdefault(told, []).append(scale.called)
    if found:
        told = "; ".join(f"{counts} at {words_list(sizes)}" for counts, sizes in found.items())
        yield (
            f"Unequal numbers of learning rates: {told}. More tries find lower losses, unless a "
            "grid was only extended because its best was at its end."
        )


def _edges(study: Study) -> Iterable[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for choice in study.choices:
        if choice.edge:
            found.setdefault((choice.label, choice.edge), []).append(choice.scale.called)
    if found:
        ends = {"lower": "lowest", "higher": "highest"}
        told = "; ".join(
            f"{label} at {words_list(sizes)} the {ends[side]}"
            for (label, side), sizes in found.items()
        )
        yield (
            f"The best learning rate is at an edge of those tried: {told}. A better one may lie "
            "beyond, so these losses are upper bounds."
        )


def _lost(study: Study) -> Iterable[str]:
    for spent in study.spending:
        if spent.diverged:
            yield (
                f"{spent.label}: {spent.diverged} of {spent.runs} runs diverged. Their learning "
                "rates cannot win, and their cost is in the budget."
            )
        if spent.failed:
            yield (
                f"{spent.label}: {spent.failed} of {spent.runs} runs failed for another reason "
                "than the loss and are not counted; train them again."
            )
    going = unfinished(study.cells)
    if going:
        more = f" and {len(going) - NAMED} more" if len(going) > NAMED else ""
        yield (
            f"{len(going)} runs have not finished and are not counted: "
            f"{', '.join(going[:NAMED])}{more}."
        )


def _seeds(study: Study) -> Iterable[str]:
    few = [r for r in study.results if 0 < len(r.choice.losses) < FEWEST_SEEDS]
    if few:
        yield (
            f"One seed only for {_named(few)}: its noise is unknown, and the choice of the "
            "learning rate among few runs flatters the loss."
        )
    none = [r for r in study.results if not r.choice.losses]
    if none:
        yield f"No usable run for {_named(none)}."
    missing = [
        f"{label} at {scale.called}"
        for scale in study.scales
        for label in study.labels
        if label not in {result.label for result in study.at(scale)}
    ]
    if missing:
        yield f"Not trained: {words_list(missing)}."


def _named(results: Sequence[Result]) -> str:
    return words_list([f"{result.label} at {result.scale.called}" for result in results])


def _elsewhere(study: Study) -> Iterable[str]:
    for choice in study.choices:
        other, chosen = choice.elsewhere, choice.chosen
        if other is None or chosen is None:
            continue
        changed = _changed(chosen.settings, other.settings)
        yield (
            f"{choice.label} at {choice.scale.called} reached {other.mean:.4f} instead of "
            f"{chosen.mean:.4f} with {changed}. Not counted: only the learning rate is chosen."
        )


def _changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    keys = sorted({*one, *other})
    return ", ".join(
        f"{key.rsplit('.', 1)[-1]} {other.get(key)} for {one.get(key)}"
        for key in keys
        if one.get(key) != other.get(key)
    )


def _settings(study: Study) -> Iterable[str]:
    """Name what differs beside the optimizer: between labels at a scale, and between scales."""
    between: dict[str, dict[str, None]] = {}
    for scale in study.scales:
        chosen = [r.choice.chosen for r in study.at(scale) if r.choice.chosen]
        for key in sorted({key for cell in chosen for key in cell.settings}):
            values = {cell.label: repr(cell.settings.get(key)) for cell in chosen}
            if not key.startswith(("optimizer.", "schedule.")) and len(set(values.values())) > 1:
                told = ", ".join(f"{label} {value}" for label, value in values.items())
                between.setdefault(key, {})[f"{told} at {scale.called}"] = None
    for key, texts in between.items():
        yield f"The optimizers do not share {key}: {'; '.join(texts)}."
    batches = {
        scale.called: batch
        for scale in study.ladder
        for result in study.at(scale)
        if result.choice.chosen and (batch := result.choice.chosen.settings.get("batch_size"))
    }
    if len(set(batches.values())) > 1:
        told = ", ".join(f"{batch} at {name}" for name, batch in batches.items())
        yield f"The batch size changes with the model: {told} sequences."


def _left_out(study: Study) -> Iterable[str]:
    out = [s for s in study.scales if s not in study.ladder and s.compute is not None]
    if out:
        told = words_list([scale.called for scale in out])
        yield (
            f"Not on the curves over compute, which hold the tokens a parameter fixed: {told}. "
            "They are in the tables."
        )


def _machines(study: Study) -> Iterable[str]:
    devices = dict.fromkeys(device for cost in study.costs for device in cost.devices)
    if len(devices) > 1:
        yield (
            f"The runs were trained on {words_list(list(devices))}: their times and memory cannot "
            "be compared with each other."
        )
    silent = sum(spent.silent for spent in study.spending)
    if silent:
        yield f"{silent} runs do not say how long they took; the device-hours are without them."
