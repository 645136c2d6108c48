"""Settings back into the command line that gives them: what a person can copy and run."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from adana.cli.settings import Settings


def as_flags(settings: Settings, changes: Mapping[str, Any] | None = None) -> list[str]:
    """Return the flags of every shared setting that is not the default, after `changes`.

    Only the fields of `Settings` itself: a verb adds its own. A value of None is left out.
    """
    given = {f.name: getattr(settings, f.name) for f in dataclasses.fields(Settings)}
    given |= changes or {}
    defaults = {f.name: f.default for f in dataclasses.fields(Settings)}
    words: list[str] = []
    for name, value in given.items():
        if value is None or (name in defaults and value == defaults[name]):
            continue
        words += _flag(name, value)
    return words


def command_line(*words: str) -> str:
    """Return words as they are typed into a shell."""
    return shlex.join(words)


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else [f"--no-{flag.removeprefix('--')}"]
    if isinstance(value, tuple | list):
        return [flag, *map(str, value)]
    return [flag, f"{value!r}" if isinstance(value, float) else str(value)]
