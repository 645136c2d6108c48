"""Help texts as whole paragraphs.

tyro (1.0.17) joins the lines of an attribute's docstring before it takes away their indentation,
and so keeps the breaks of the source, which tear sentences apart in a terminal of 80 columns. What
a field has in its metadata as `help` is shown as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from docstring_parser import parse_from_object


def join_lines(kind: Any) -> None:
    """Give all fields of a dataclass, and of those in its types, their docstrings as help."""
    for cls in dataclasses_in(kind):
        for parent in (c for c in reversed(cls.__mro__) if dataclasses.is_dataclass(c)):
            texts = {
                about.arg_name: about.description for about in parse_from_object(parent).params
            }
            for field in dataclasses.fields(parent):
                if text := texts.get(field.name):
                    joined = "\n\n".join(" ".join(x.split()) for x in text.split("\n\n"))
                    field.metadata = MappingProxyType({**field.metadata, "help": joined})


def dataclasses_in(kind: Any) -> Iterator[type]:
    """Yield a dataclass, or those among the parts of a type, and those of their fields."""
    if not dataclasses.is_dataclass(kind):
        for part in get_args(kind):
            yield from dataclasses_in(part)
    elif isinstance(kind, type):
        yield kind
        for hint in get_type_hints(kind, include_extras=True).values():
            yield from dataclasses_in(hint)
