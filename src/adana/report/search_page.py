"""The page of one search for hyperparameters, or of several beside each other, as one HTML file.

What was tried, what was decided and why, and what it cost: tables and remarks are plain HTML and
stand without JavaScript.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from adana.report import words
from adana.report.drawing import Chart, Image, check_images, save_static
from adana.report.page import Figure, Heading, figure, page
from adana.report.reading import best_of_nothing, guessing
from adana.report.search_charts import joint_chart, progress_chart, sweep_charts
from adana.report.search_numbers import decimals_of, loss_text, plain
from adana.report.study_words import words_list
from adana.runs import write_bytes
from adana.searches import JointTable, Search, SearchAt, SweepRow

SWEEP = (
    "How far each value is above the best of its grid, all other hyperparameters at the best "
    "configuration (diamond). Below the dashed line (delta2) values are as good as the best, and "
    "where there is no line all are. A cross stands where the loss is off the top of the chart or "
    "the training diverged."
)
JOINT = (
    "Losses around the optimum in two hyperparameters at once; the optimum in bold, darker is "
    "lower. A corner that is lowest means that the two should move together."
)
PROGRESS = (
    "The lowest loss found after so many trainings, as a mean over the seeds of the search. What "
    "the last trainings still gained says whether more would."
)
COMPARED = (
    "One line a search: optimizers are compared fairly where both lines have come to rest, or at "
    "equal numbers of trainings."
)
FLATTERS = (
    "A search flatters what it ends at: report its best configuration with seeds of which it has "
    "trained none (adana compare --tuned)."
)


FOUND = (
    Heading("hyperparameter", "as on the command line", number=False),
    Heading("start", "where the search began"),
    Heading("best", "where it ended"),
    Heading("near-optimal", "values within delta2 of the best of the last grid"),
    Heading("edge", "why the best value is not between two worse ones, where it is not"),
)
DECISIONS = (
    Heading("pass", "round over all hyperparameters", number=False),
    Heading("hyperparameter", "whose grid was trained"),
    Heading("before", "its value then"),
    Heading("after", "the value that the search went on with"),
    Heading("gain", "of the best of the grid over the value before, in nats"),
    Heading("grid", "every value with its loss"),
)
SENSITIVITY = (
    Heading("hyperparameter", "as on the command line", number=False),
    Heading("verdict", "insensitive: one value is near-optimal at every size"),
    Heading("best", "at each size"),
    Heading("one value costs", "what the best single value costs at its worst size, in nats"),
    Heading("moved by", "data or model: what the sizes differ in between which the best moved"),
)


class Drawn(NamedTuple):
    """A chart and its words."""

    title: str
    caption: str
    chart: Chart


def write_search(
    searches: Sequence[Search], path: Path | str, images: Sequence[Image] = ()
) -> None:
    """Write the page to `path`, atomically, and every chart beside it in each format of `images`.

    Raises:
        ValueError: there is no search, or an unknown image format.
        RunError: something cannot be written.
    """
    check_images(images)
    path = Path(path)
    charts = search_charts(searches)
    write_bytes(path, render_search(searches, charts).encode())
    for suffix in images:
        for name, drawn in charts.items():
            save_static(drawn.chart, path.with_name(f"{name}.{suffix}"))


def search_charts(searches: Sequence[Search]) -> dict[str, Drawn]:
    """Return every chart of the page, by name."""
    found: dict[str, tuple[str, str, Chart | None]] = {}
    for at, lines in enumerate(compared(searches)):
        title = f"Best loss against trainings, {lines[0][1].size}"
        found[f"compared-{at}"] = (title, f"{PROGRESS} {COMPARED}", progress_chart(lines))
    for key, search in zip(keys(searches), searches, strict=True):
        for at, scale in enumerate(search.scales):  # each has losses of its own height
            chart = progress_chart([(scale.size, scale)])
            found[f"{key}-progress-{at}"] = (scale.size, PROGRESS, chart)
        for at, (name, chart) in enumerate(sweep_charts(search).items()):
            slug = re.sub(r"\W+", "-", name)  # a name is free, that of a file is not
            found[f"{key}-sweep-{at}-{slug}"] = (name, SWEEP, chart)
        for at, (title, scale, check) in enumerate(last_joints(search)):
            found[f"{key}-joint-{at}"] = (title, JOINT, joint_chart(scale, check))
    return {
        name: Drawn(title, caption, chart)
        for name, (title, caption, chart) in found.items()
        if chart is not None
    }


def keys(searches: Sequence[Search]) -> list[str]:
    """Return what the names of each search's charts begin with."""
    return ["search"] if len(searches) == 1 else [f"search-{n}" for n in range(len(searches))]


def labelled(searches: Sequence[Search]) -> list[str]:
    """Return the names of the searches; equal ones get numbers."""
    names = [search.name for search in searches]
    counts = [f"{name} ({names[: at + 1].count(name)})" for at, name in enumerate(names)]
    again = [names.count(name) > 1 for name in names]
    return [own if more else name for own, more, name in zip(counts, again, names, strict=True)]


def compared(searches: Sequence[Search]) -> list[list[tuple[str, SearchAt]]]:
    """Return the sizes that all of several searches have, each with its name.

    None if they were on other data or with another kind of training: such losses have no common
    scale.
    """
    if len(searches) < 2 or len({_kind(search) for search in searches}) > 1:
        return []
    found = []
    for first in searches[0].scales:
        own = (first.parameters, first.tokens)
        same = [
            (label, scale)
            for label, search in zip(labelled(searches), searches, strict=True)
            for scale in search.scales
            if (scale.parameters, scale.tokens) == own
        ]
        if len(same) == len(searches):
            found.append(same)
    return found


def _kind(search: Search) -> tuple[Any, ...]:
    """Return what losses that are compared must share, as far as a search says."""
    configs = [scale.config or {} for scale in search.scales]
    return search.setting, *{config.get("eval_tokens") for config in configs}


def _not_compared(searches: Sequence[Search]) -> str:
    """Say why several searches have no chart together, or what differs in it."""
    if len(searches) < 2:
        return ""
    lines = compared(searches)
    if len({_kind(search) for search in searches}) > 1:
        return (
            "Not on one chart: these searches were on other data, validated on other tokens, or "
            "had another kind of model, schedule or precision."
        )
    if not lines:
        return "Not on one chart: no model and number of tokens is in all of these searches."
    counts = {label: scale.seeds for label, scale in lines[0]}
    if len(set(counts.values())) > 1:
        texts = [f"{label} {count}" for label, count in counts.items()]
        return f"Beware: losses are means over different numbers of seeds: {', '.join(texts)}."
    return ""


def last_joints(search: Search) -> list[tuple[str, SearchAt, JointTable]]:
    """Return the last check of every pair at every size, with its title."""
    found = []
    for scale in search.scales:
        last = {check.names: check for check in scale.joints}
        for names, check in last.items():
            of = f", {scale.size}" if len(search.scales) > 1 else ""
            found.append((f"{names[0]} and {names[1]}{of}", scale, check))
    return found


def render_search(searches: Sequence[Search], charts: Mapping[str, Drawn] | None = None) -> str:
    """Return the page.

    Raises:
        ValueError: there is no search.
    """
    if not searches:
        raise ValueError("expected at least one search to make a page of")
    charts = search_charts(searches) if charts is None else charts
    labels = labelled(searches)
    figures = {name: figure(name, *drawn) for name, drawn in charts.items()}
    return page(
        "search.html.j2",
        figures.values(),
        title=f"Tuning {words_list(labels)}",
        compared=[item for name, item in figures.items() if name.startswith("compared-")],
        not_compared=_not_compared(searches),
        parts=[
            _part(label, search, key, figures)
            for key, label, search in zip(keys(searches), labels, searches, strict=True)
        ],
        flatters=FLATTERS,
        sweep_caption=SWEEP,
        joint_caption=JOINT,
    )


def _nothing(scale: SearchAt) -> list[str]:
    said = best_of_nothing(scale.loss, guessing(scale.config or {}))
    return [said[0].upper() + said[1:] + "."] if said else []


def _part(label: str, search: Search, key: str, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Return what the page says of one search."""

    def of(kind: str) -> list[Figure]:
        start = f"{key}-{kind}-"
        return [item for name, item in figures.items() if name.startswith(start)]

    several = len(search.scales) > 1
    return {
        "label": label,
        "verdict": [_verdict(scale, several) for scale in search.scales],
        "commands": search.commands,
        "remarks": [
            f"{scale.size}: {text}" if several else text
            for scale in search.scales
            for text in (*_nothing(scale), *scale.remarks)
        ],
        "noise": [
            f"{f'{s.size}: ' if several else ''}delta1 {s.delta1:.4g}, delta2 {s.delta2:.4g}; "
            f"{s.noise}"
            for s in search.scales
        ],
        "progress": of("progress"),
        "sweeps": of("sweep"),
        "joints": of("joint"),
        "sizes": [
            {
                "size": scale.size if several else "",
                "found": {"columns": FOUND, "rows": _found(scale)},
                "decisions": {"columns": DECISIONS, "rows": _decisions(scale)},
                "trials": _trials(scale),
            }
            for scale in search.scales
        ],
        "sensitivity": {"columns": SENSITIVITY, "rows": _sensitivity(search)},
        "command": search.command,
    }


def _verdict(scale: SearchAt, several: bool) -> str:
    count, seconds = len(scale.trials), math.fsum(t["seconds"] for t in scale.trials)
    diverged = sum(math.isinf(trial["loss"]) for trial in scale.trials)
    settings = ", ".join(f"{name} {plain(scale.best[name])}" for name in scale.tuned)
    seeds = "one seed" if scale.seeds == 1 else f"mean of {scale.seeds} seeds"
    where = f"{scale.size}: " if several else ""
    loss = loss_text(scale.loss, decimals_of(scale))
    return (
        f"{where}loss {loss} ({seeds}) at {settings}, "
        f"found in {count} trainings, {seconds / 3600:.2g} device-hours"
        + (f"; {diverged} diverged." if diverged else ".")
    )


def _found(scale: SearchAt) -> list[list[str]]:
    return [
        [
            name,
            plain(scale.start[name]),
            plain(scale.best[name]),
            ", ".join(map(plain, scale.near_optimal[name])),
            scale.edges.get(name, ""),
        ]
        for name in scale.tuned
    ]


def _decisions(scale: SearchAt) -> list[list[str]]:
    decimals = decimals_of(scale)
    return [
        [
            str(number),
            own.name,
            plain(own.before),
            plain(own.after) if own.after != own.before else "stays",
            loss_text(own.gain, decimals),
            _grid(own, decimals),
        ]
        for number, moves in enumerate(scale.passes, start=1)
        for own in moves
    ]


def _grid(sweep: SweepRow, decimals: int) -> str:
    pairs = zip(sweep.values, sweep.losses, strict=True)
    return ", ".join(f"{plain(value)}: {loss_text(loss, decimals)}" for value, loss in pairs)


def _trials(scale: SearchAt) -> dict[str, Any]:
    """Return the table of all trainings, what they share left out."""
    names = list(dict.fromkeys(name for trial in scale.trials for name in trial["config"]))
    shown = [n for n in names if n in scale.tuned or n == "seed"]
    columns = [Heading("training", "in the order in which they were asked for", number=False)]
    columns += [Heading(name, "as on the command line") for name in shown]
    columns += [Heading("loss", "the final loss"), Heading("seconds", "device-seconds it took")]
    rows = [
        [
            str(count),
            *(plain(trial["config"].get(name, words.NONE)) for name in shown),
            loss_text(trial["loss"], decimals_of(scale)),
            f"{trial['seconds']:.0f}",
        ]
        for count, trial in enumerate(scale.trials, start=1)
    ]
    return {"columns": columns, "rows": rows}


def _sensitivity(search: Search) -> list[list[str]]:
    if len(search.scales) < 2:
        return []
    return [
        [
            own["name"],
            own["verdict"],
            ", ".join(f"{plain(value)} ({size})" for size, value in own["optima"].items()),
            f"{float(own['cost']):.4f}" if math.isfinite(float(own["cost"])) else "cannot tell",
            " and ".join(own["moved_by"]) or words.NONE,
        ]
        for own in search.sensitivities
    ]
