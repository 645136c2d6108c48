"""The command `adana`: thin verbs over the library, one file a verb."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro

from adana.cli.branch import BranchArguments, branch_command
from adana.cli.compare import CompareArguments, compare_command
from adana.cli.data import DataArguments, data_command
from adana.cli.export import ExportArguments, export_command
from adana.cli.ladder import LadderArguments, ladder_command
from adana.cli.manage import RunsArguments, runs_command, with_default_action
from adana.cli.report import ReportArguments, report_command
from adana.cli.sample import SampleArguments, sample_command
from adana.cli.schedules import SchedulesArguments, schedules_command
from adana.cli.train import TrainArguments, train_command

DESCRIPTION = """Train language models with log-time optimizers, and measure what they save.

Start with:

    adana compare adamw adana

Then, on your own text:

    adana compare adamw adana --data my_texts/ --sweep-lr 5

`adana COMMAND --help` explains every option. Stop anything whenever you like: the same command goes
on where it was.
"""

Verb = (
    Annotated[TrainArguments, tyro.conf.subcommand("train")]
    | Annotated[BranchArguments, tyro.conf.subcommand("branch")]
    | Annotated[CompareArguments, tyro.conf.subcommand("compare")]
    | Annotated[ReportArguments, tyro.conf.subcommand("report")]
    | Annotated[DataArguments, tyro.conf.subcommand("data")]
    | Annotated[LadderArguments, tyro.conf.subcommand("ladder")]
    | Annotated[RunsArguments, tyro.conf.subcommand("runs")]
    | Annotated[SampleArguments, tyro.conf.subcommand("sample")]
    | Annotated[ExportArguments, tyro.conf.subcommand("export")]
    | Annotated[SchedulesArguments, tyro.conf.subcommand("schedules")]
)

_COMMANDS: dict[type, Callable[[Any], int]] = {
    TrainArguments: train_command,
    BranchArguments: branch_command,
    CompareArguments: compare_command,
    ReportArguments: report_command,
    DataArguments: data_command,
    LadderArguments: ladder_command,
    RunsArguments: runs_command,
    SampleArguments: sample_command,
    ExportArguments: export_command,
    SchedulesArguments: schedules_command,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 for wrong arguments, 1 for failures.

    Errors are one message that says what to do; set ADANA_DEBUG=1 for the traceback.
    """
    verb: Any = tyro.cli(
        Verb,
        prog="adana",
        description=DESCRIPTION,
        args=with_default_action(sys.argv[1:] if arguments is None else arguments),
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
    )
    try:
        code = _COMMANDS[type(verb)](verb)
    except KeyboardInterrupt:
        code = _complain("interrupted; the same command goes on where it was", 130)
    except ValueError as error:
        code = _complain(error, 2)
    except (RuntimeError, OSError) as error:
        code = _complain(error, 1)
    raise SystemExit(code)


def _complain(error: object, code: int) -> int:
    if os.environ.get("ADANA_DEBUG") and isinstance(error, Exception):
        raise error
    print(f"adana: {error}", file=sys.stderr)
    return code
