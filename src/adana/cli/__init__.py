"""The command `adana`: thin verbs over the library, one file a verb."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Annotated, Any, Union

import tyro

from adana import __version__
from adana.cli.help_texts import improve_help
from adana.cli.terminal import Output, watched_output

DESCRIPTION = """Train language models with log-time optimizers, and measure what they save.

Start with:
    adana compare adamw adana

Then, on your own text:
    adana compare adamw adana --data my_texts/ --sweep-lr 5

Every option is explained by `adana COMMAND --help`; `adana --version` says what is installed. Stop
anything whenever you like: the same command goes on where it was.
"""

VERBS = {
    "train": "Train one model with one optimizer.",
    "branch": "Cool a long run down at several points, for the losses of several training lengths.",
    "tune": "Find an optimizer's best hyperparameters, and which of them need a rule.",
    "compare": "Train the same model with several optimizers and report the difference honestly.",
    "report": "Write the report of finished runs, without training anything.",
    "fit": "Fit loss laws to finished runs, and say how much compute each optimizer saves.",
    "data": "Turn a corpus into tokens once, so that trainings start at once; see what is there.",
    "ladder": "Plan a ladder of models, or train a small one and report what the optimizers save.",
    "rules": "Fit rules for learning rates to your own runs, and use them where laws are missing.",
    "runs": "List, inspect, compare, watch, mirror and prune run directories.",
    "sample": "Write text with a trained model, shown as it is made.",
    "export": "Write a trained model as safetensors with what transformers needs to load it.",
    "schedules": "Draw how memory, momentum, weight decay and learning rate change over a run.",
    "plrf": "Explore the theory behind log-time schedules, a figure a verb, in seconds to minutes.",
}
"""Every verb, and the first line of its help.

A verb's own module takes seconds to import, with torch, scipy or altair: it is imported when used.
"""
MODULES = {"runs": "manage"}
"""Modules of verbs that have another name."""

GOING_ON = ("train", "branch", "tune", "compare", "ladder", "data")
"""Verbs that keep what they have done when they are stopped."""
WITHOUT_LOCKS = ("win32",)
NO_LOCKS = (
    "the commands need Linux or macOS, whose file locks and signals keep run directories whole. On "
    "Windows, install adana inside WSL (https://learn.microsoft.com/windows/wsl). The optimizers, "
    "`import adana`, work on Windows as they are."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 for wrong arguments, 1 for failures.

    Errors are one message that says what to do; set ADANA_DEBUG=1 for the traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with watched_output() as output:
        code = _exit_code(words, output)
        if not output.complete():
            code = code or 1
    raise SystemExit(code)


def _carry_out(words: Sequence[str]) -> int:
    """Do what the words say; return the exit code, or raise."""
    if words == ["--version"]:
        print(_versions())
        return 0
    if sys.platform in WITHOUT_LOCKS:
        raise RuntimeError(NO_LOCKS)
    verb, carry_out = _parse(words)
    return carry_out(verb)


def _exit_code(words: Sequence[str], output: Output) -> int | str | None:
    """Do what the words say, and say what goes wrong; return the exit code."""
    try:
        return _carry_out(words)
    except SystemExit as exit_:  # of --help, of wrong arguments, of a signal
        return exit_.code
    except KeyboardInterrupt:
        goes_on = words and words[0] in GOING_ON
        more = "; the same command goes on where it was" if goes_on else ""
        return _complain(f"interrupted{more}", 130)
    except (ValueError, RuntimeError, OSError) as error:
        if output.lost:  # which is the cause, and is told of
            return 1
        return _complain(error, 2 if isinstance(error, ValueError) else 1)


def load_verb(name: str) -> tuple[type, Callable[[Any], int]]:
    """Return the arguments of a verb and what carries it out, importing its module."""
    module = importlib.import_module(f"adana.cli.{MODULES.get(name, name)}")
    return getattr(module, f"{name.capitalize()}Arguments"), getattr(module, f"{name}_command")


def with_default_action(arguments: Sequence[str]) -> list[str]:
    """Return the command line with `list` where `adana runs` is given no action.

    >>> with_default_action(["runs", "--json"])
    ['runs', 'list', '--json']
    """
    given = list(arguments)
    alone = given[:1] == ["runs"] and (given[1:2] == [] or given[1].startswith("-"))
    if alone and not {"-h", "--help"} & set(given[1:2]):
        given.insert(1, "list")
    return given


def _parse(words: Sequence[str]) -> tuple[Any, Callable[[Any], int]]:
    """Return the arguments of the verb asked for, and what carries it out."""
    config = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
    completing = any(word.startswith("--tyro-") for word in words)  # for a shell: all options
    if words and words[0] in VERBS and not completing:
        kind, carry_out = load_verb(words[0])
        improve_help(kind)
        given = with_default_action(words)[1:]
        return tyro.cli(kind, prog=f"adana {words[0]}", args=given, config=config), carry_out
    loaded = {name: load_verb(name) for name in VERBS} if completing else {}
    for kind, _ in loaded.values():
        improve_help(kind)
    kinds = {name: kind for name, (kind, _) in loaded.items()}
    verb: Any = tyro.cli(
        _choice_of_verbs(kinds), prog="adana", description=DESCRIPTION, args=words, config=config
    )
    return verb, dict(loaded.values())[type(verb)]


def _choice_of_verbs(loaded: Mapping[str, type]) -> Any:
    """Return the type that tyro parses: of verbs that are not loaded, it knows one line of text."""
    kinds = []
    for name, about in VERBS.items():
        kind = loaded.get(name) or dataclasses.make_dataclass(name, [])
        kinds.append(Annotated[kind, tyro.conf.subcommand(name, description=about)])
    return Union[tuple(kinds)]  # noqa: UP007 - made while running


def _versions() -> str:
    """Return what a report of a defect should begin with, without importing torch."""
    return f"adana {__version__} (Python {platform.python_version()}, torch {version('torch')})"


def _complain(error: object, code: int) -> int:
    if os.environ.get("ADANA_DEBUG") and isinstance(error, Exception):
        raise error
    with contextlib.suppress(OSError):  # the code says that something is wrong
        print(f"adana: {error}", file=sys.stderr)
    return code
