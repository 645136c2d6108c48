"""Numbers and findings in words, the same ones in the terminal, in Markdown and on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from adana.laws import Multiplier
from adana.laws.quantiles import student_tail
from adana.report.compare import Comparison, Estimate, Row
from adana.report.records import Record

MINUS = "\N{MINUS SIGN}"
NONE = "-"
"""What a cell shows where nothing is known."""

OPEN = "open at both ends"
"""An interval whose ends both lie outside what the baseline's horizons can measure."""

FEW_SEEDS = 10
"""Up to this many seeds the verdict says how easily chance alone looks like a difference."""


def signed(value: float, digits: int = 3) -> str:
    """Return ``+0.012`` or ``−0.012``, with a real minus sign; a rounded zero has no sign."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+") + text


def loss_digits(error: float | None) -> int:
    """Return 3 digits for a loss, and 4 where seeds agree so well that 3 would hide it."""
    return 4 if error is not None and 0 < error < 0.0005 else 3


def estimate(value: Estimate | None, *, sign: bool = False) -> str:
    """Return ``3.235 ± 0.008``, or only the mean where one seed gives no error."""
    if value is None:
        return NONE
    digits = loss_digits(value.error)
    mean = signed(value.mean, digits) if sign else f"{value.mean:.{digits}f}"
    return mean if value.error is None else f"{mean} ± {value.error:.{digits}f}"


def decimal(value: float | None, digits: int) -> str:
    """Return a number with a fixed number of digits after the point."""
    return NONE if value is None else f"{value:.{digits}f}"


def short(value: float | None) -> str:
    """Return a setting as people write it: ``0.008``, ``2e-05``."""
    return NONE if value is None else f"{value:.4g}"


def short_count(value: float | None) -> str:
    """Return a count in three digits: ``2.46M``, ``1.2B``."""
    if value is None:
        return NONE
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def grouped(value: float | None) -> str:
    """Return a large number in groups of three digits: ``66,000``."""
    return NONE if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """Return a fraction as ``78 %``."""
    return NONE if value is None else f"{100 * value:.0f} %"


def size(value: float | None) -> str:
    """Return bytes as ``1.84 MB`` (powers of 1000)."""
    if value is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def multiplier(value: Multiplier | None) -> str:
    """Return ``1.34 (1.21 to 1.47)``, a one-sided bound, or ``cannot say``."""
    if value is None:
        return NONE
    interval = _interval(value)
    if value.value is not None:
        return f"{value.value:.2f} ({interval})" if interval else f"{value.value:.2f}"
    if interval:  # a bound that seed noise leaves standing, not the one of the means alone
        return "cannot say" if interval == OPEN else interval
    if value.above is not None:
        return f"> {value.above:.2f}"
    return "cannot say" if value.below is None else f"< {value.below:.2f}"


def _interval(value: Multiplier) -> str:
    """Return the interval in words; empty if none could be computed."""
    if value.low is None and value.high is None:
        return OPEN if value.freedom else ""
    if value.low is None:
        return f"< {value.high:.2f}"
    return f"> {value.low:.2f}" if value.high is None else f"{value.low:.2f} to {value.high:.2f}"


def seeds(count: int) -> str:
    """Return ``one seed`` or ``3 seeds``."""
    return "one seed" if count == 1 else f"{count} seeds"


def outcome(record: Record) -> str:
    """Return how a run ended: ``diverged at step 120``."""
    if record.finished:
        return "finished"
    state = "finished without a loss" if record.state == "finished" else record.state
    return f"{state} at step {record.last_step}"


def failure(record: Record) -> str:
    """Return a sentence about a run that did not finish."""
    why = f": {record.reason}" if record.reason else ""
    return f"{record.name} ({record.label}, seed {record.seed}, {record.steps} steps) " + (
        f"{outcome(record)}{why}"
    )


def verdict(comparison: Comparison) -> tuple[str, ...]:
    """Return what the comparison found, in plain sentences, and how far to trust it."""
    baseline = comparison.rows[0]
    if baseline.loss is None:
        ends = ", ".join(f"seed {run.seed} {outcome(run)}" for run in baseline.failures)
        return (
            f"The baseline {baseline.label} has no finished run ({ends}), so nothing can be "
            "compared with it.",
        )
    found = [
        text
        for row in comparison.rows[1:]
        for text in (_finding(row, baseline), _worth(row, baseline))
        if text
    ]
    found += [f"{name} has no result: {why.ended}." for name, why in comparison.left_out.items()]
    gaps = [row.difference for row in comparison.rows[1:] if row.difference]
    return (*found, *caution(gaps))


def _finding(row: Row, baseline: Row) -> str:
    """Say how one candidate ends against the baseline."""
    lost = [f"seed {run.seed} {outcome(run)}" for run in row.failures]
    if row.loss is None:
        return f"{row.label} has no finished run: {', '.join(lost)}."
    but = f" Not counted: {', '.join(lost)}." if lost else ""
    gap = row.difference
    if gap is None:
        return f"{row.label} shares no seed with {baseline.label}, so no difference is given.{but}"
    digits = loss_digits(gap.error)
    side = "below" if gap.mean < 0 else "above"
    if gap.error is None:
        return (
            f"{row.label} ends {abs(gap.mean):.{digits}f} {side} {baseline.label} on the one seed "
            f"they share; one seed gives no ±, so this may be luck.{but}"
        )
    text = f"{row.label} ends {estimate(Estimate(abs(gap.mean), gap.error, gap.count))} {side} "
    text += f"{baseline.label} ({gap.count} seeds each)"
    if abs(gap.mean) < 2 * gap.error:
        text += ": the difference is within the seed noise"
    return f"{text}.{but}"


def _worth(row: Row, baseline: Row) -> str:
    """Say what a difference is worth in compute, where the runs can tell."""
    found = row.multiplier
    if found is None:
        return ""
    interval = _interval(found)
    if found.value is None:
        noise = f" (with seed noise, {100 * found.level:g} %: {interval})" if interval else ""
        return f"Compute multiplier of {row.label}: {found.reason}{noise}."
    sure = f" ({100 * found.level:g} % interval: {interval})" if interval else ""
    return f"{baseline.label} needs {found.value:.2f} times the compute to match {row.label}{sure}."


def caution(differences: Sequence[Estimate]) -> tuple[str, ...]:
    """Say how often noise alone passes the two-standard-errors mark with so few seeds."""
    counts = [gap.count for gap in differences if gap.count > 1]
    if not counts or min(counts) > FEW_SEEDS:
        return ()
    count = min(counts)
    chance = 2 * student_tail(2, count - 1)
    return (
        f"{count} seeds are few: with them, chance alone gives a difference of more than twice "
        f"its ± in about {math.ceil(100 * chance - 0.5)} of 100 comparisons.",
    )
