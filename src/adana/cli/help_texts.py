"""Help texts as whole paragraphs, with defaults only where there is one.

tyro (1.0.17) joins the lines of an attribute's docstring before it takes away their indentation,
and so keeps the breaks of the source, which tear sentences apart in a terminal of 80 columns. What
a field has in its metadata as `help` is shown as it is. Behind it stands ``(default: None)`` where
nothing is given by default; the text says there what happens then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro
from docstring_parser import parse_from_object

NOTHING = (None, ())
"""Defaults that say nothing to a reader."""

SILENT = tyro.conf.arg(help_behavior_hint="")
METAVARS = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}
"""How help shows the value of a flag that may be left out, by its type."""


def improve_help(kind: Any) -> None:
    """Give all fields of a dataclass, and of those in its types, their docstrings as help."""
    for cls in dataclasses_in(kind):
        for parent in (c for c in reversed(cls.__mro__) if dataclasses.is_dataclass(c)):
            _leave_out_empty_defaults(parent)
            texts = {
                about.arg_name: about.description for about in parse_from_object(parent).params
            }
            for field in dataclasses.fields(parent):
                if text := texts.get(field.name):
                    joined = "\n\n".join(" ".join(x.split()) for x in text.split("\n\n"))
                    field.metadata = MappingProxyType({**field.metadata, "help": joined})


def _leave_out_empty_defaults(cls: type) -> None:
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        own = field.name in cls.__annotations__
        hint = hints[field.name]
        if own and field.default in NOTHING and SILENT not in get_args(hint):
            cls.__annotations__[field.name] = Annotated[hint, SILENT, *_metavar(hint)]


def _metavar(hint: Any) -> list[Any]:
    """Return what shows the value of an optional flag as FLOAT, not as {None}|FLOAT."""
    if any(getattr(mark, "metavar", None) for mark in getattr(hint, "__metadata__", ())):
        return []  # it has its own
    plain = hint.__origin__ if get_origin(hint) is Annotated else hint
    kinds = [kind for kind in get_args(plain) if kind is not NoneType]
    if NoneType not in get_args(plain) or len(kinds) != 1 or kinds[0] not in METAVARS:
        return []
    return [tyro.conf.arg(metavar=METAVARS[kinds[0]])]


def dataclasses_in(kind: Any) -> Iterator[type]:
    """Yield a dataclass, or those among the parts of a type, and those of their fields."""
    if not dataclasses.is_dataclass(kind):
        for part in get_args(kind):
            yield from dataclasses_in(part)
    elif isinstance(kind, type):
        yield kind
        for hint in get_type_hints(kind, include_extras=True).values():
            yield from dataclasses_in(hint)
