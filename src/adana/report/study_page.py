"""The report of a study as one HTML page, and beside it every chart and table as a file.

Tables, verdict and warnings are plain HTML and stand without JavaScript.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adana.laws import MultiplierCurve
from adana.report import html, study_words, words
from adana.report.choice import RULE
from adana.report.drawing import Chart, Image, check_images, save_static
from adana.report.export import export
from adana.report.law_charts import WORST, headline
from adana.report.off_scale import CROSSES
from adana.report.page import Figure, figure, page
from adana.report.records import Record, flatten
from adana.report.study import Study
from adana.report.study_charts import bowl_charts, schedule_records, study_charts
from adana.report.study_tables import RESULTS, Sheet, of_scales, sheets
from adana.runs import RunError, write_bytes, write_json

USUALLY_VARIED = ("kappa", "omega")
"""Settings whose sensitivity the page reports, or says that it cannot."""

VERSIONS = ("adana", "python", "packages.torch", "packages.numpy", "device", "processor", "ranks")
"""What the page shows of `environment.json` at once; the rest is folded."""

TEXTS = {
    "loss": (
        "Loss against compute",
        "Final validation loss at the chosen learning rates: points are means over seeds, bars one "
        "standard error. Solid lines join the points; dashed lines are the fitted laws with their "
        f"90 % bands. Both axes are logarithmic. {CROSSES}",
    ),
    "multiplier": (
        "What the difference is worth in compute",
        "M is the compute the baseline needs for the same loss, divided by the compute used: 1 is "
        "no difference, above 1 is better. Solid: read off the baseline's own points "
        "(piecewise), with 90 % intervals; a triangle where M is only known to lie beyond, as of a "
        "loss below all of the baseline's, and a cross at the bottom where M is below "
        f"{WORST:g}. Dashed: from the fitted laws, with 90 % bands. Where the two disagree, trust "
        "neither.",
    ),
    "curves": (
        "Loss during training",
        "The best run of each size and optimizer at its chosen learning rate. Only the right end "
        "of a line counts: on the way there, it also shows how far the learning rate has already "
        f"come down. {CROSSES}",
    ),
    "rates": (
        "Best learning rate against size",
        "Filled points are fitted optima, bars one standard error for seed noise; an open point is "
        "the lowest or highest rate that was tried, so the best may lie beyond.",
    ),
    "cost": (
        "Time of the optimizer's step",
        "Medians over a run. Time grows with all parameters, embeddings included.",
    ),
}
"""Title and caption of the single charts, by the names of `study_charts`."""

BOWL = (
    "Final loss of each learning rate: points are means, small ticks single seeds. Dashed: the "
    "parabola fitted near the best rate, a diamond at its lowest point. A cross at the top is a "
    "rate that diverged, or whose loss is off the scale: more than 5 % above ln V, what guessing "
    "among the V tokens gives."
)


def write_study(
    study: Study,
    folder: Path | str,
    *,
    command: str | None = None,
    images: Sequence[Image] = ("svg",),
) -> Path:
    """Write the page, the charts and the tables of a study to `folder`; return the page.

    Args:
        study: what `read_study` found.
        folder: made if it is not there.
        command: the command that made the runs, shown on the page if it is known.
        images: formats that every chart is saved in beside the page: svg, pdf, png.

    Raises:
        RunError: something cannot be written.
        ValueError: an unknown image format.
    """
    check_images(images)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    charts = study_charts(study)
    path = folder / "report.html"
    write_bytes(path, render_study(study, charts, command).encode())
    export(sheets(study), folder)
    write_json(folder / "study.json", as_dict(study))
    whole = headline(study)
    pictures: dict[str, Any] = charts | ({} if whole is None else {"headline": whole})
    for name, chart in pictures.items():
        for suffix in images:
            save_static(chart, folder / f"{name}.{suffix}")
    return path


def render_study(
    study: Study, charts: Mapping[str, Chart] | None = None, command: str | None = None
) -> str:
    """Return the report as one HTML page."""
    charts = study_charts(study) if charts is None else charts
    scales = [scale for scale, _ in bowl_charts(study)]
    figures = [figure(name, *_text(name, study, scales), chart) for name, chart in charts.items()]
    tables = {sheet.name: _table(sheet) for sheet in sheets(study)}
    environment = html.environments(study.records)
    return page(
        "study.html.j2",
        figures,
        title=title(study),
        study=study,
        rule=RULE,
        verdict=study_words.verdict(study),
        warnings=study_words.warnings(study),
        statements=study.findings.statements,
        laws=_laws(study),
        tables=tables,
        results=[(heading, _results_table(results)) for heading, results in of_scales(study)],
        single={f.name: f for f in figures if f.name in TEXTS},
        bowls=_named(figures, "bowl-"),
        sensitivities=_named(figures, "sensitivity-"),
        not_varied=[
            name for name in USUALLY_VARIED if name not in {s.name for s in study.sensitivities}
        ],
        schedules=_named(figures, "schedule-"),
        schedule_size=_schedule_size(study),
        command=command,
        settings=_settings(study),
        versions={key: text for key, text in environment.items() if key.startswith(VERSIONS)},
        environment=environment,
        outcome=words.outcome,
        short=words.short,
    )


def title(study: Study) -> str:
    """Return a heading that says what was compared with what, and at which sizes."""
    candidates = study_words.words_list(study.labels[1:]) if study.labels[1:] else "nothing yet"
    counted = [scale for scale in study.scales if scale.parameters is not None]
    names = list(dict.fromkeys(scale.name for scale in counted or study.scales))
    sizes = names[0] if len(names) == 1 else f"{len(names)} sizes, {names[0]} to {names[-1]}"
    return f"{candidates} against {study.baseline}: {sizes}{' parameters' if counted else ''}"


def _text(name: str, study: Study, scales: Sequence[Any]) -> tuple[str, str]:
    """Return the title and the caption of a chart."""
    kind, _, key = name.partition("-")
    if kind == "bowl":
        return scales[int(key)].heading, BOWL
    if kind == "sensitivity":
        return f"Sensitivity to {key}", (
            "How far the loss at each value is above the lowest of the line, each with its own "
            "best learning rate. One line for each optimizer and size."
        )
    return html.TEXTS[name] if kind == "schedule" else TEXTS[name]


def _named(figures: Iterable[Figure], start: str) -> list[Figure]:
    return [item for item in figures if item.name.startswith(start)]


def _results_table(results: Iterable[Any]) -> dict[str, Any]:
    return {
        "columns": RESULTS,
        "rows": [[column.cell(result) for column in RESULTS] for result in results],
    }


def _table(sheet: Sheet) -> dict[str, Any]:
    return {"columns": sheet.columns, "rows": sheet.cells}


def _laws(study: Study) -> list[tuple[str, list[str]]]:
    """Return, for each optimizer, the numbers of its fitted law as text."""
    fit = study.findings.fit
    if fit is None:
        return []
    names = ("a", "b", "c", "e", "f") if fit.form == "broken" else ("a", "b", "c")
    return [
        (label, [f"{float(getattr(fit.laws[label], name)):.4g}" for name in names])
        for label in study.labels
        if label in fit.laws
    ]


def _schedule_size(study: Study) -> str:
    records = schedule_records(study).values()
    steps = sorted({record.steps for record in records})
    return " and ".join(f"{count:,}" for count in steps) + " steps" if steps else ""


def _settings(study: Study) -> dict[str, dict[str, str]]:
    """Return the settings that all runs share, and those that differ with every value."""
    flats = [
        flatten({k: v for k, v in record.config.items() if k not in ("seed", "layout")})
        for record in study.records
    ]
    values: dict[str, dict[str, None]] = {key: {} for flat in flats for key in flat}
    for key, own in values.items():
        for flat in flats:
            value = flat.get(key, words.NONE)
            own[value if isinstance(value, str) else json.dumps(value)] = None
    return {
        "differing": {key: html.joined(own) for key, own in values.items() if len(own) > 1},
        "shared": {key: next(iter(own)) for key, own in values.items() if len(own) == 1},
    }


def as_dict(study: Study) -> dict[str, Any]:
    """Return the study as plain values, for `json`."""
    fit = study.findings.fit
    return {
        "baseline": study.baseline,
        "labels": list(study.labels),
        "rule": RULE,
        "verdict": list(study_words.verdict(study)),
        "warnings": list(study_words.warnings(study)),
        "statements": list(study.findings.statements),
        "laws": {} if fit is None else {name: asdict(law) for name, law in fit.laws.items()},
        "multipliers": [
            _multiplier_dict(curve)
            for curves in (study.findings.piecewise, study.findings.fitted)
            for curve in curves.values()
        ],
        **{sheet.name: sheet.records for sheet in sheets(study)},
        "runs": [_run_dict(record) for record in study.records],
    }


def _multiplier_dict(curve: MultiplierCurve) -> dict[str, Any]:
    numbers = {
        name: [value if math.isfinite(value) else None for value in getattr(curve, name).tolist()]
        for name in ("compute", "value", "low", "high")
    }
    flags = {name: getattr(curve, name).tolist() for name in ("inside", "separable")}
    known = {name: getattr(curve, name) for name in ("name", "baseline", "estimator", "level")}
    return known | numbers | flags


def _run_dict(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "identity": record.identity,
        "optimizer": record.label,
        "seed": record.seed,
        "steps": record.steps,
        "lr": record.config["optimizer"]["lr"],
        "state": record.state,
        "reason": record.reason,
        "val_loss": record.loss if record.finished else None,
    }
