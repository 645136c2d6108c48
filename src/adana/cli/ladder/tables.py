"""A plan as tables for people: sizes and budgets, learning rates, compute, memory and hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from adana import schedules
from adana.cli.grid import Grid
from adana.ladder import (
    LAW_SEQUENCE,
    PUBLISHED_HEADS,
    Hardware,
    PlannedTraining,
    PublishedLaw,
    Rung,
    budget_rule,
    total,
)
from adana.ladder.estimates import HEADROOM
from adana.nn import PFH

NARROWEST = 120
"""Columns of the tables where there is no terminal that says how wide it is."""
WARNING = "!"
"""What marks a learning rate that its law was not fitted for, and the note that says why."""


def print_plan(
    console: Console,
    trainings: Sequence[PlannedTraining],
    hardware: Hardware,
    commands: Sequence[str],
    ladders: Sequence[str] = (),
) -> None:
    """Print everything about a plan; `ladders` are commands that train all of it."""
    for warning in batch_warnings(trainings):
        console.print(Text(warning, "bold yellow"))
    rungs = unique(t.rung for t in trainings)
    for table, notes in (
        (sizes_table(rungs), sizes_notes(rungs)),
        (rates_table(rungs, trainings), rates_notes(trainings)),
        (compute_table(rungs), COMPUTE_NOTES),
        (memory_table(trainings, hardware), memory_notes(trainings, hardware)),
    ):
        console.print(table.fitting(console))
        for note in notes:
            console.print(Padding(Text(note, warning_style(note)), (0, 0, 0, 3)))
        console.print()
    console.print("Total", style="bold")
    console.print(Padding(Text(total_text(trainings)), (0, 0, 0, 3)))
    for title, several in (
        ("Commands (each with --data and your corpus)", commands),
        ("Or with a grid of rates, several seeds and a report (with --data too)", ladders),
    ):
        if several:
            console.print(f"\n{title}", style="bold")
        for command in several:
            console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)


def batch_warnings(trainings: Iterable[PlannedTraining]) -> list[str]:
    """Say loudly which laws are used for a batch that they were not fitted at."""
    laws = {
        t.optimizer: t.rate.law
        for t in trainings
        if t.rate.law and t.rate.law.tokens_per_step != t.rung.tokens_per_step
    }
    return [
        f"EXTRAPOLATED, as asked: the learning rates of {name} are those of steps of {law.batch} x "
        f"{LAW_SEQUENCE} tokens. Nobody fitted them at this batch."
        for name, law in laws.items()
    ]


def warning_style(note: str) -> str:
    """Return the style of a note below a table."""
    return "yellow" if note.startswith(WARNING) else "dim"


def unique(rungs: Iterable[Rung]) -> list[Rung]:
    """Return the rungs, each once, in order."""
    return list({(rung.heads, rung.tokens_per_param): rung for rung in rungs}.values())


class Names:
    """What the tables call the rungs: by their heads, and by tokens per parameter if they differ.

    `title` is the head of the column that has them.
    """

    def __init__(self, rungs: Iterable[Rung]) -> None:
        self._several = len({rung.tokens_per_param for rung in rungs}) > 1
        self.title = "H, D/N" if self._several else "H"

    def __call__(self, rung: Rung) -> str:
        """Return the name of a rung."""
        return f"{rung.heads}, {rung.tokens_per_param:g}" if self._several else str(rung.heads)

    def listed(self, rungs: Iterable[Rung]) -> str:
        """Return several names, for a sentence."""
        names = [self(rung) for rung in rungs]
        return f"{self.title} = {', '.join(f'({n})' if self._several else n for n in names)}"


def numbered(trainings: Iterable[PlannedTraining]) -> dict[str, int]:
    """Return the optimizers with the numbers that the tables call them by."""
    names = dict.fromkeys(t.optimizer for t in trainings)
    return {name: number for number, name in enumerate(names, start=1)}


# --- sizes and budgets ----------------------------------------------------------------------------


def sizes_table(rungs: Sequence[Rung]) -> Grid:
    """One row a rung: shape, parameters by convention, tokens, steps and what follows from them."""
    family = rungs[0].model.family
    parameters = list(rungs[0].parameters)
    if family == "enoki":
        parameters.remove("12 d^2 L")  # which is P
    names = Names(rungs)
    table = Grid(
        f"Sizes and budgets of {family}",
        *(names.title, "layers L", "width d", *parameters),
        *("tokens", "steps T", "warm-up W", "offset S"),
    )
    for rung in rungs:
        table.add(
            names(rung) + ("" if rung.published else " *"),
            *(str(rung.model.depth), str(rung.model.width)),
            *(scaled(rung.parameters[name]) for name in parameters),
            scaled(rung.tokens),
            *(
                f"{rung.steps:,}",
                f"{rung.warmup_steps:,}",
                f"{rung.decay_offset:,.1f}".removesuffix(".0"),
            ),
        )
    return table


def sizes_notes(rungs: Sequence[Rung]) -> Iterable[str]:
    """Say by which rules the columns come about."""
    rung = rungs[0]
    model = rung.model
    if model.family == "enoki":
        yield "d = 64 H, L = floor(3 H / 4). P = 12 d^2 L (no norms, embedding, head): laws use it."
    else:
        yield (
            "d = 128 H, L = 2 H. P = L (14 d^2 + 2 head_dim + 2 d) + d (no embedding, head): laws "
            "use it."
        )
        yield "12 d^2 L is what the authors' launcher takes for P; its runs are 5 to 13 % shorter."
    yield (
        f"N = P + 2 V d with vocabulary V = {model.vocab_size:,}; budgets are multiples of it. "
        "exact: every number that is trained."
    )
    ratios = sorted({each.tokens_per_param for each in rungs})
    rules = [budget_rule(ratio, rung.batch_size, model.sequence_length) for ratio in ratios]
    yield (
        f"T = {' or '.join(rules)}; tokens = T x {rung.tokens_per_step:,}; W = floor(T/50); "
        f"S = T/10, at least omega = {schedules.OMEGA:g}."
    )
    short_runs = [rung for rung in rungs if rung.warmup_steps == 0]
    if short_runs:
        where = Names(rungs).listed(short_runs)
        yield f"{WARNING} {where}: fewer than 50 steps, so without warm-up."
    if not all(rung.published for rung in rungs):
        known = ", ".join(map(str, PUBLISHED_HEADS[model.family]))
        yield f"* not a published size; those are H = {known}."


# --- learning rates -------------------------------------------------------------------------------


def rates_table(rungs: Sequence[Rung], trainings: Sequence[PlannedTraining]) -> Grid:
    """One row a rung, one column an optimizer, and AdamW's weight decay."""
    coupled = {t.optimizer for t in trainings if t.weight_decay is not None}
    columns = []
    for name, number in numbered(trainings).items():
        columns.append(f"{name} [{number}]")
        if name in coupled:
            columns.append(f"{name} weight_decay")
    names = Names(rungs)
    table = Grid("Peak learning rates", names.title, *columns)
    for rung in rungs:
        cells = []
        for t in trainings:
            if t.rung is rung:
                mark = f" {WARNING}" if t.rate.reservations else ""
                cells.append(f"{t.rate.lr:.3g}{mark}")
                if t.weight_decay is not None:
                    cells.append(f"{t.weight_decay:.3g}")
        table.add(names(rung), *cells)
    return table


def rates_notes(trainings: Sequence[PlannedTraining]) -> Iterable[str]:
    """Say for each optimizer which law it is, what was fitted, and how far this is from it."""
    names = Names(t.rung for t in trainings)
    for name, number in numbered(trainings).items():
        own = [t for t in trainings if t.optimizer == name]
        rate = own[0].rate
        origin = describe_law(rate.law) if rate.law else rate.origin or "given, for every rung"
        yield f"[{number}] {name}: {origin}."
        by_reservation: dict[str, list[Rung]] = {}
        for t in own:
            for reservation in t.rate.reservations:
                by_reservation.setdefault(reservation, []).append(t.rung)
        for reservation, rungs in by_reservation.items():
            where = names.listed(rungs)
            yield f"{WARNING} {name}, {where}: {reservation}. Sweep before you trust it."
    if any(t.weight_decay is not None for t in trainings):
        yield f"weight_decay = omega / (lr T), omega = {schedules.OMEGA:g}, for torch.optim.AdamW."


def describe_law(law: PublishedLaw) -> str:
    """Return a law with everything that it depends on."""
    kappa = "" if law.kappa is None else f", kappa {law.kappa:g}"
    swept = "range not published"
    if law.fitted:
        swept = f"swept for P = {scaled(law.fitted[0])} to {scaled(law.fitted[1])}"
    return (
        f"lr = {law.formula}, {law.counts}; {law.batch} x {LAW_SEQUENCE} tokens a step, omega "
        f"{law.omega:g}{kappa}; {swept}. Ran: {law.algorithm}"
    )


# --- compute --------------------------------------------------------------------------------------


def compute_table(rungs: Sequence[Rung]) -> Grid:
    """One row a rung, one column a formula, in PFH."""
    formulas = list(rungs[0].flops)
    names = Names(rungs)
    table = Grid("Compute C in PFH (3.6e18 FLOP)", names.title, *formulas, "all matrices")
    for rung in rungs:
        everything = [*(rung.flops[name] for name in formulas), rung.model_flops]
        table.add(names(rung), *(f"{flops / PFH:.4g}" for flops in everything))
    return table


COMPUTE_NOTES = (
    "6PD: non-embedding parameters (the published figures). 6N1: 72 d^2 L D. 6N2: 6N1 and the "
    "head's 6 V d D. M: 6N1 and attention's 12 L d S D.",
    "all matrices: 6 (P + V d) D and attention, what the hours below come from. D are the tokens "
    "really trained on.",
)


# --- memory and hours -----------------------------------------------------------------------------


def memory_table(trainings: Sequence[PlannedTraining], hardware: Hardware) -> Grid:
    """One row a rung and size of optimizer state: every term of the memory, hours."""
    terms = [term.name.removeprefix("optimizer ") for term in trainings[0].estimate.terms]
    groups = by_needs(trainings)
    apart = len(groups) > len(unique(t.rung for t in trainings))
    names = Names(t.rung for t in trainings)
    table = Grid(
        f"Estimate for {hardware.devices} x {hardware.device.name}: GB on each, hours on all",
        *(names.title, *(["for"] if apart else []), *terms, "total", "fits"),
        *("micro batch", "hours"),
    )
    numbers = numbered(trainings)
    for group in groups:
        needs = group[0].estimate
        own = ", ".join(str(numbers[t.optimizer]) for t in group)
        table.add(
            names(group[0].rung),
            *([f"[{own}]"] if apart else []),
            *(gigabytes(term.bytes) for term in needs.terms),
            gigabytes(needs.memory),
            "yes" if needs.fits else "NO",
            f"{needs.micro_batch} x {needs.accumulation}",
            short(needs.hours),
        )
    return table


def by_needs(trainings: Sequence[PlannedTraining]) -> list[list[PlannedTraining]]:
    """Group the trainings of a rung that need the same memory."""
    groups: dict[tuple[int, float, float], list[PlannedTraining]] = {}
    for t in trainings:
        key = (t.rung.heads, t.rung.tokens_per_param, t.estimate.memory)
        groups.setdefault(key, []).append(t)
    return list(groups.values())


def memory_notes(trainings: Sequence[PlannedTraining], hardware: Hardware) -> Iterable[str]:
    """Say how the estimates come about, and what to try where something does not fit."""
    device, first = hardware.device, trainings[0]
    terms = "; ".join(f"{term.name} {term.formula}" for term in first.estimate.terms)
    yield (
        f"Bytes, as for H = {first.rung.heads} with {first.optimizer} (n: exact; tokens: those of "
        f"a micro-batch): {terms}."
    )
    yield (
        f"fits: at most {HEADROOM:.0%} of {device.memory / 1e9:.0f} GB. micro batch: sequences a "
        "pass x passes a step, on each device."
    )
    source = "measured here" if device.measured else "data sheet, dense bf16"
    yield (
        f"hours = all matrices / ({device.peak / 1e12:.4g} TFLOP/s ({source}) x MFU "
        f"{hardware.mfu:g} x {hardware.devices}). Evaluation and optimizer are not counted."
    )
    if not all(t.estimate.fits for t in trainings):
        yield (
            "What does not fit may with --parallel fsdp on more --devices, or "
            "--activation-checkpointing."
        )


def total_text(trainings: Sequence[PlannedTraining]) -> str:
    """Return the sums over all trainings, and of one optimizer's."""
    everything = total(trainings)
    one = total([t for t in trainings if t.optimizer == trainings[0].optimizer])
    rungs = "1 rung" if one.trainings == 1 else f"{one.trainings} rungs"
    text = (
        f"{rungs}: {scaled(one.tokens)} tokens, {one.compute:.4g} PFH (6PD), "
        f"{short(one.hours)} hours, {short(one.device_hours)} device-hours"
    )
    if everything.trainings > one.trainings:
        text += (
            f"; with all {everything.trainings // one.trainings} optimizers "
            f"{everything.compute:.4g} PFH, {short(everything.hours)} hours, "
            f"{short(everything.device_hours)} device-hours"
        )
    return text + ". One seed."


# --- words and numbers ----------------------------------------------------------------------------


def scaled(count: float) -> str:
    """Return a count with four digits and k, M, B or T."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:#.4g} {unit}".replace(". ", " ")
    return f"{count:g}"


def gigabytes(count: float) -> str:
    """Return bytes as GB with two digits after the point."""
    return f"{count / 1e9:.2f}"


def short(number: float) -> str:
    """Return a number with three digits, without an exponent where that is short."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
