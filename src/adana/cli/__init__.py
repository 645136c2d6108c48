"""The command `adana`: thin verbs over the library, one file a verb."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

import tyro

from adana.cli.branch import BranchArguments, branch_command
from adana.cli.compare import CompareArguments, compare_command
from adana.cli.data import DataArguments, data_command
from adana.cli.export import ExportArguments, export_command
from adana.cli.fit import FitArguments, fit_command
from adana.cli.help_texts import join_lines
from adana.cli.ladder import LadderArguments, ladder_command
from adana.cli.manage import RunsArguments, runs_command, with_default_action
from adana.cli.plrf import PlrfArguments, plrf_command
from adana.cli.report import ReportArguments, report_command
from adana.cli.rules import RulesArguments, rules_command
from adana.cli.sample import SampleArguments, sample_command
from adana.cli.schedules import SchedulesArguments, schedules_command
from adana.cli.train import TrainArguments, train_command
from adana.cli.tune import TuneArguments, tune_command

DESCRIPTION = """Train language models with log-time optimizers, and measure what they save.

Start with:
    adana compare adamw adana

Then, on your own text:
    adana compare adamw adana --data my_texts/ --sweep-lr 5

Every option is explained by `adana COMMAND --help`. Stop anything whenever you like: the same
command goes on where it was.
"""

VERBS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "train": (TrainArguments, train_command),
    "branch": (BranchArguments, branch_command),
    "tune": (TuneArguments, tune_command),
    "compare": (CompareArguments, compare_command),
    "report": (ReportArguments, report_command),
    "fit": (FitArguments, fit_command),
    "data": (DataArguments, data_command),
    "ladder": (LadderArguments, ladder_command),
    "rules": (RulesArguments, rules_command),
    "runs": (RunsArguments, runs_command),
    "sample": (SampleArguments, sample_command),
    "export": (ExportArguments, export_command),
    "schedules": (SchedulesArguments, schedules_command),
    "plrf": (PlrfArguments, plrf_command),
}
"""Every verb by name: its arguments, and what carries it out."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 for wrong arguments, 1 for failures.

    Errors are one message that says what to do; set ADANA_DEBUG=1 for the traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        for kind, _ in VERBS.values():
            join_lines(kind)
    verb: Any = tyro.cli(
        _choice_of_verbs(whole_texts=bool(words) and words[0] in VERBS),
        prog="adana",
        description=DESCRIPTION,
        args=with_default_action(words),
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
    )
    try:
        carry_out = dict(VERBS.values())[type(verb)]
        code = carry_out(verb)
    except KeyboardInterrupt:
        code = _complain("interrupted; the same command goes on where it was", 130)
    except ValueError as error:
        code = _complain(error, 2)
    except (RuntimeError, OSError) as error:
        code = _complain(error, 1)
    raise SystemExit(code)


def _choice_of_verbs(whole_texts: bool) -> Any:
    """Return the type that tyro parses: in the list of verbs, each has one line of its text."""
    kinds = []
    for name, (kind, _) in VERBS.items():
        first_line = (kind.__doc__ or "").split("\n")[0]
        about = tyro.conf.subcommand(name, description=None if whole_texts else first_line)
        kinds.append(Annotated[kind, about])
    return Union[tuple(kinds)]  # noqa: UP007 - made while running


def _complain(error: object, code: int) -> int:
    if os.environ.get("ADANA_DEBUG") and isinstance(error, Exception):
        raise error
    print(f"adana: {error}", file=sys.stderr)
    return code
