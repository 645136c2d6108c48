"""The user's files: which ones a path stands for, and the documents in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from adana.data.documents import AnyDocument, Document, read_text
from adana.data.errors import CorpusError
from adana.data.sources import rows

TEXT_SUFFIXES = (".txt", ".md", ".py")
"""Files that are one document each."""

SUFFIXES = (*TEXT_SUFFIXES, *rows.SUFFIXES)
"""The files of a user's folder that are read; others are left alone."""


@dataclass(frozen=True)
class Paths:
    """Files to read in order, below a root that names are relative to."""

    root: Path
    paths: list[Path]
    notes: list[str]


@dataclass(frozen=True)
class Found:
    """Documents as they are read, each with the file that is nothing but this text, if one is."""

    each: Callable[[], Iterator[tuple[Path | None, AnyDocument]]]
    notes: Callable[[], list[str]]
    """What was left out; complete when all documents have been read."""

    def __iter__(self) -> Iterator[tuple[Path | None, AnyDocument]]:
        """Read the documents."""
        return self.each()


def find(source: str) -> Paths:
    """Return the files that the path `source` stands for; `CorpusError` if there are none."""
    path = Path(source).expanduser()
    if source and path.is_dir():
        paths, notes = files_below(path, suffixes=SUFFIXES, skip=frozenset())
        if not paths:
            raise CorpusError(f"the folder {path} holds no files to read. {_accepted()}")
        return Paths(path, paths, notes)
    if path.suffix.lower() in SUFFIXES and path.exists():
        return Paths(path.parent, [path], [])
    if source and path.exists():
        raise CorpusError(f"{path} is not a kind of file that can be read. {_accepted()}")
    raise CorpusError(f"the corpus {source!r} does not exist. {_accepted()}")


def read(paths: Paths, text_field: str) -> Found:
    """Return the documents of files, rows in memory."""

    def each() -> Iterator[tuple[Path | None, AnyDocument]]:
        for path in paths.paths:
            name = path.relative_to(paths.root).as_posix()
            if rows.has_rows(path):
                for document in rows.read(path, name, text_field):
                    yield None, document
            else:
                yield path, Document(name, read_text(path))

    return Found(each, lambda: paths.notes)


def files_below(
    root: Path, *, suffixes: tuple[str, ...], skip: Collection[str]
) -> tuple[list[Path], list[str]]:
    """Return the files with these suffixes, sorted, and a note on links that were not followed.

    Hidden files and folders, ``__pycache__`` and folders named in `skip` are left out. A folder
    that cannot be listed is a `CorpusError`.
    """
    paths: list[Path] = []
    linked = 0

    def refuse(error: OSError) -> None:
        raise CorpusError(
            f"the folder {error.filename} cannot be read: {error.strerror}. Fix its permissions, "
            "or move it out of the corpus."
        ) from error

    for folder, below, names in os.walk(root, onerror=refuse):
        below[:] = [
            name
            for name in below
            if name not in skip and name != "__pycache__" and not name.startswith(".")
        ]
        linked += sum(os.path.islink(os.path.join(folder, name)) for name in below)
        paths += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and name.lower().endswith(suffixes)
        ]
    return sorted(paths), [f"{linked} linked folders not followed"] if linked else []


def _accepted() -> str:
    return (
        "Give a built-in corpus (python, python-packages), a hub data set (fineweb-10bt, "
        f"hub:OWNER/NAME), a file that ends in {', '.join(SUFFIXES)}, or a folder with such files."
    )
