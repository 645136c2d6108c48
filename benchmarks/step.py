"""Time and memory of one optimizer step: this family, torch's optimizers and other libraries'.

    python benchmarks/step.py --list uniform --millions 10 --tensors 40 --threads 1
    python benchmarks/step.py --list gpt2-124m enoki-0.23m many-small --variants fused foreach
    python benchmarks/step.py --list gpt2-124m 1b --device cuda --csv step.csv --chart step.svg

Every optimizer updates the same parameters from the same gradients. They take turns in every round,
and the learning rate changes with the rounds. Printed, for each list of parameters:

    ms          median time of a step with the middle half of the rounds (on a GPU, between events)
    ratio       to the reference: median, and middle half, over rounds
    GB/s        the least traffic a step can have (weights and state read and written, gradient
                read: 28 bytes a parameter in float32, 36 with a third average) over its time;
                `of copy` is that over the speed of a copy of as many bytes in the same round.
                Above 100 % is possible on a CPU: a copy also loads what it overwrites, 12 bytes
                for 8 that count, while a step writes only what it has read
    state, peak bytes a parameter: state, and the most that a step allocates besides it
    first       seconds of the first step in this process, with the caches as they are;
                with --first-step also in new processes: caches empty (cold), then filled (warm)
    built       compilations in the first step + in all others (graphs of torch.compile, compilers
                started); the second number should be 0
    host        ms until the call returned (on a GPU: dispatch)
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from steps import lists, measure
from steps.candidates import FAMILY, VARIANTS, Candidate, candidates
from steps.chart import draw

COPY = "copy"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
HEAD = (f"{'':36}{'ms':>9}{'middle half':>18}{'ratio':>9}{'middle half':>18}{'GB/s':>7}"
        f"{'of copy':>8}{'state':>6}{'peak':>6}{'first s':>9}{'cold s':>8}{'warm s':>8}"
        f"{'built':>7}{'host ms':>9}")  # fmt: skip


class Ready(NamedTuple):
    """A candidate that has made its first step."""

    optimizer: Any
    first: float
    """Seconds of the first step."""
    built: int
    """Compilations in the first step."""


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    arguments = parse(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.alone:
        print(alone(arguments))
        return []
    found, notes = candidates(arguments.variants, arguments.state_dtypes)
    found = [c for c in found if chosen(c.name, arguments)]
    print(machine(arguments))
    print("\n".join(note for note in notes if chosen(note, arguments)))
    rows = [row for name in arguments.list for row in measured(name, found, arguments)]
    if arguments.csv:
        write(rows, arguments.csv, arguments)
    if arguments.chart:
        draw(rows, arguments.reference, arguments.chart)
    return rows


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, names = parser.add_argument, ["uniform", *lists.LISTS]
    add("--list", nargs="+", default=["uniform"], choices=names, help="lists of parameters")
    add("--millions", type=float, default=10.0, help="parameters of `uniform`, in millions")
    add("--tensors", type=int, default=40, help="tensors of `uniform`")
    add("--rounds", type=int, default=30)
    add("--threads", type=int, help="CPU threads; one is the least noisy")
    add("--device", default="cpu", help="cpu or cuda")
    add("--dtype", default="float32", choices=DTYPES, help="of weights and gradients")
    add("--variants", nargs="+", default=["default"], choices=VARIANTS, help="of the family")
    add("--state-dtypes", nargs="+", default=["fp32"], help="of the family: fp32, log16, ...")
    add("--only", nargs="+", default=[], metavar="NAME", help="names that begin with one of these")
    add("--reference", default="AdamW fused", help="what ratios are to")
    add("--longest", type=float, default=5.0, help="leave out whose step takes more seconds")
    add("--first-step", action="store_true", help="also measure it in new processes")
    add("--csv", type=Path, help="write all numbers to this file")
    add("--chart", type=Path, help="draw the ratios: a .svg, .png or .pdf file")
    add("--alone", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.rounds < 2:
        parser.error("--rounds must be at least 2: quartiles need several")
    if arguments.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {arguments.device}: torch finds no GPU here")
    return arguments


def chosen(name: str, arguments: argparse.Namespace) -> bool:
    """Return whether a candidate is asked for; the reference always is."""
    name, reference = name.split(":", maxsplit=1)[0].lower(), arguments.reference.lower()
    asked = any(f"{name} ".startswith(f"{start.lower()} ") for start in arguments.only)
    return not arguments.only or name == reference or asked


def machine(arguments: argparse.Namespace) -> str:
    where = platform.processor() or platform.machine()
    if arguments.device != "cpu":
        where = torch.cuda.get_device_name()
    elif (info := Path("/proc/cpuinfo")).exists():
        models = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        where = (models or [where])[0]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (f"{where}, {os.cpu_count()} cores{load}, {torch.get_num_threads()} threads, "
            f"torch {torch.__version__}, Python {platform.python_version()}, "
            f"{time.strftime('%d %B %Y')}")  # fmt: skip


def entries_of(name: str, arguments: argparse.Namespace) -> lists.List:
    if name == "uniform":
        return lists.uniform(arguments.millions, arguments.tensors)
    return lists.LISTS[name]()


# --- one list -------------------------------------------------------------------------------------


def measured(
    name: str, found: Sequence[Candidate], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure all candidates on one list, print its table and return its rows."""
    entries, device = entries_of(name, arguments), arguments.device
    count, dtype = sum(entry.count for entry in entries), DTYPES[arguments.dtype]
    print(f"\n{name}: {count / 1e6:,.6g} M parameters in {len(entries)} tensors, {arguments.dtype}")
    needed = count * (2 * dtype.itemsize + measure.STATE_AND_ROOM)
    if measure.free_bytes(device) < needed:
        print(f"left out: needs {needed / 1e9:.0f} GB of free memory for one optimizer")
        return []
    params = lists.parameters(entries, device, dtype)
    ready = prepared(found, params, entries, arguments)
    if arguments.reference not in ready:
        known = ", ".join(ready)
        raise SystemExit(
            f"the reference {arguments.reference!r} takes no part; the choice: {known}"
        )
    fixed = 3 * dtype.itemsize * count  # weights read and written, gradient read
    traffic = {n: fixed + 2 * measure.state_bytes(r.optimizer) for n, r in ready.items()}
    copy = measure.copy_of(traffic[arguments.reference], device)
    optimizers = {n: r.optimizer for n, r in ready.items()}
    times, rebuilt = measure.in_turns(optimizers, {COPY: copy}, arguments.rounds, device)
    rows = []
    for candidate, one in ready.items():
        measure.progress(f"memory, first steps in new processes: {candidate}"
                         if arguments.first_step else f"memory: {candidate}")  # fmt: skip
        shares = {"list": name, "optimizer": candidate, "ours": candidate.split()[0] in FAMILY,
                  "millions": count / 1e6, "tensors": len(entries)}  # fmt: skip
        rows.append({
            **shares,
            **speeds(times, candidate, traffic, arguments.reference),
            "state": measure.state_bytes(one.optimizer) / count,
            "peak": measure.peak_bytes(one.optimizer.step, device) / count,
            "first": one.first,
            **elsewhere(candidate, name, arguments),
            "built": one.built, "rebuilt": rebuilt[candidate],
        })  # fmt: skip
    measure.progress("")
    show(rows, traffic[arguments.reference] / statistics.median(times[COPY].step))
    return rows


def prepared(
    found: Sequence[Candidate],
    params: list[torch.nn.Parameter],
    entries: lists.List,
    arguments: argparse.Namespace,
) -> dict[str, Ready]:
    """Make every candidate and its first two steps; leave out what is refused, large or slow."""
    measure.wake_up(arguments.device)
    ready: dict[str, Ready] = {}
    count = sum(entry.count for entry in entries)
    for name, make in found:
        measure.progress(f"first steps: {name}")
        if measure.free_bytes(arguments.device) < count * measure.STATE_AND_ROOM:
            print(f"{name}: left out, no memory for its state")
            continue
        before = measure.Compilations.count()
        try:
            optimizer = make(params, entries)
            seconds = first = measure.timed(optimizer.step, arguments.device)[0]
            built = measure.Compilations.count() - before
            if built or first <= arguments.longest:  # else a second would take as long
                seconds, _ = measure.timed(optimizer.step, arguments.device)
        except (ValueError, TypeError, RuntimeError) as error:
            print(f"{name}: left out, refused: {str(error).splitlines()[0]}")
            continue
        if seconds > arguments.longest:
            print(f"{name}: left out, a step takes {seconds:.1f} s (--longest)")
            continue
        ready[name] = Ready(optimizer, first, measure.Compilations.count() - before)
    return ready


def speeds(
    times: dict[str, measure.Times], name: str, traffic: dict[str, int], reference: str
) -> dict[str, float]:
    """Return what the times of one candidate say, beside the reference's and the copy's."""
    mine, theirs, copies = times[name].step, times[reference].step, times[COPY].step
    low, middle, high = statistics.quantiles(mine, n=4, method="inclusive")
    ratios = [x / y for x, y in zip(mine, theirs, strict=True)]
    ratio_low, ratio, ratio_high = statistics.quantiles(ratios, n=4, method="inclusive")
    scale = traffic[name] / traffic[reference]
    of_copy = [scale * y / x for x, y in zip(mine, copies, strict=True)]
    return {
        **{"ms": 1e3 * middle, "ms_low": 1e3 * low, "ms_high": 1e3 * high},
        **{"ratio": ratio, "ratio_low": ratio_low, "ratio_high": ratio_high},
        **{"gb_s": traffic[name] / middle / 1e9, "of_copy": statistics.median(of_copy)},
        "host_ms": 1e3 * statistics.median(times[name].host),
    }


# --- the first step in new processes --------------------------------------------------------------


def elsewhere(candidate: str, list_: str, arguments: argparse.Namespace) -> dict[str, float | None]:
    """Return the seconds of the first step in new processes, where they are asked for."""
    if not arguments.first_step:
        return {"cold": None, "warm": None}
    options = {
        **{"--list": [list_], "--millions": [arguments.millions], "--tensors": [arguments.tensors]},
        **{"--device": [arguments.device], "--dtype": [arguments.dtype]},
        **{"--variants": arguments.variants, "--state-dtypes": arguments.state_dtypes},
        **{"--alone": [candidate], "--threads": [torch.get_num_threads()]},
    }
    words = [str(word) for name, values in options.items() for word in (name, *values)]
    cold, warm = measure.first_steps_elsewhere([sys.executable, __file__, *words])
    return {"cold": cold, "warm": warm}


def alone(arguments: argparse.Namespace) -> float:
    """Return the seconds that one candidate takes to be made and to make its first step."""
    found, _ = candidates(arguments.variants, arguments.state_dtypes)
    make = dict(found)[arguments.alone]
    entries = entries_of(arguments.list[0], arguments)
    params = lists.parameters(entries, arguments.device, DTYPES[arguments.dtype])
    measure.wake_up(arguments.device)
    seconds, _ = measure.timed(lambda: make(params, entries).step(), arguments.device)
    return seconds


# --- what is shown --------------------------------------------------------------------------------


def show(rows: Sequence[dict[str, Any]], copied: float) -> None:
    print(f"copy: {copied / 1e9:.1f} GB/s\n{HEAD}")
    for row in rows:
        new = [f"{'-':>8}" if row[k] is None else f"{row[k]:8.2f}" for k in ("cold", "warm")]
        print(f"{row['optimizer']:36}{row['ms']:9.3f}{row['ms_low']:9.3f}{row['ms_high']:9.3f}"
              f"{row['ratio']:9.2f}{row['ratio_low']:9.2f}{row['ratio_high']:9.2f}"
              f"{row['gb_s']:7.1f}{100 * row['of_copy']:6.0f} %"
              f"{row['state']:6.1f}{row['peak']:6.1f}{row['first']:9.3f}{new[0]}{new[1]}"
              f"{row['built']:5}+{row['rebuilt']}{row['host_ms']:9.3f}")  # fmt: skip


def write(rows: Sequence[dict[str, Any]], path: Path, arguments: argparse.Namespace) -> None:
    """Write all numbers, the machine beside them."""
    rows = [{**row, "machine": machine(arguments), "rounds": arguments.rounds} for row in rows]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
