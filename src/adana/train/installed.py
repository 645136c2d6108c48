"""Optimizers that other installed packages bring, found by their entry points.

A package says which names it brings under the group `adana.optimizers` of its metadata
(docs/own-optimizer.md). Only packages that were installed are looked at, and one is imported when
its optimizer is asked for by name: no configuration can name code to be run.

Their code may change from one training to the next where the package is installed for editing. So a
configuration holds a fingerprint of it, and changed code is another run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

GROUP = "adana.optimizers"
"""The entry points that are looked at."""
NAME = re.compile(r"\w[\w.-]*", re.ASCII)
"""What an optimizer may be called."""
CODE = (".py", ".so", ".pyd")
"""Endings of the files whose content is code."""


def installed() -> dict[str, metadata.EntryPoint]:
    """Return the optimizers of installed packages by name."""
    return _found(tuple(sys.path))


@functools.cache
def _found(_: tuple[str, ...]) -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=GROUP)}


def load(name: str) -> Any:
    """Import what an installed package says that the optimizer `name` is.

    Raises:
        ValueError: two packages bring one of this name, run directories cannot be called so, or
            what the package names cannot be imported.
    """
    point = installed()[name]
    several = {package_of(p) for p in metadata.entry_points(group=GROUP, name=name)}
    if len(several) > 1:
        raise ValueError(
            f"{' and '.join(sorted(several))} all bring an optimizer {name!r}; uninstall all but "
            "one, or give them other names"
        )
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{package_of(point)} brings an optimizer {name!r}, but run directories are called by "
            "their optimizer: give it a name of letters, digits, '-', '_' and '.'"
        )
    code_of(name)  # remembered, so that it is that of the code which is now imported
    try:
        return point.load()
    except Exception as error:
        raise ValueError(
            f"the optimizer {name!r} of {package_of(point)} cannot be had: importing {point.value} "
            f"failed with {type(error).__name__}: {error}"
        ) from error


@contextlib.contextmanager
def blaming(name: str) -> Iterator[None]:
    """Say of an error in the block which optimizer raised it, and where in its code.

    It stays a `ValueError` if it was one, and is a `RuntimeError` otherwise. Nothing is done for
    the optimizers of this package, whose errors say themselves what is wrong.
    """
    point = installed().get(name)
    if point is None:
        yield
        return
    try:
        yield
    except torch.OutOfMemoryError:
        raise  # says itself what is wanting
    except Exception as error:
        kind = ValueError if isinstance(error, ValueError) else RuntimeError
        raise kind(
            f"the optimizer {name!r} of {package_of(point)} failed{_where(error, point)} with "
            f"{type(error).__name__}: {error}. (ADANA_DEBUG=1 shows the whole traceback)"
        ) from error


def _where(error: Exception, point: metadata.EntryPoint) -> str:
    """Return the innermost place in the error's traceback that is in the package's code."""
    files = {str(path.resolve()) for path, _ in _files(point.module.partition(".")[0])}
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if str(Path(frame.filename).resolve()) in files]
    return f" at {own[-1].filename}:{own[-1].lineno}" if own else ""


def package_bringing(name: str) -> str | None:
    """Return the name and version of the package that brings an optimizer; None if none does."""
    point = installed().get(name)
    return None if point is None else package_of(point)


def package_of(point: metadata.EntryPoint) -> str:
    """Return the name and version of the package that brings an entry point."""
    return (
        "a package without a name"
        if point.dist is None
        else f"{point.dist.name} {point.dist.version}"
    )


def code_of(name: str) -> str | None:
    """Return 12 hex digits of all code in the package that brings `name`; None if none does.

    As it was when this process first asked, or imported it. Nothing is imported. Of a module
    without a package it is the module's file. What the package imports from elsewhere is not seen.

    Raises:
        ValueError: the package's files are not there.
    """
    point = installed().get(name)
    if point is None:
        return None
    return _fingerprint(point.module.partition(".")[0])


@functools.cache
def _fingerprint(top: str) -> str:
    digest = hashlib.sha256()
    for path, label in sorted(_files(top), key=lambda pair: pair[1]):
        digest.update(label.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _files(top: str) -> Iterator[tuple[Path, str]]:
    """Yield the files with code of a top-level package or module, and what to call each."""
    module = sys.modules.get(top)
    spec = importlib.util.find_spec(top) if module is None else module.__spec__
    if spec is None:
        raise ValueError(f"the package {top!r} brings an optimizer, but it cannot be found")
    if spec.submodule_search_locations is None:
        if spec.origin is None:
            raise ValueError(f"the module {top!r} brings an optimizer, but it has no file")
        yield Path(spec.origin), Path(spec.origin).name
        return
    for folder in map(Path, spec.submodule_search_locations):
        for path in folder.rglob("*"):
            if path.suffix in CODE and path.is_file():
                yield path, path.relative_to(folder).as_posix()
