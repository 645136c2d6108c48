"""The user's files: which ones a path stands for, and the documents in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from adana.data.bad_rows import RowRules
from adana.data.counting import counted
from adana.data.documents import AnyDocument, FileDocument
from adana.data.errors import BadText, CorpusError, Missing, Unavailable
from adana.data.sources import rows

TEXT_SUFFIXES = (".txt", ".md", ".py")
"""Files that are one document each."""

SUFFIXES = (*TEXT_SUFFIXES, *rows.SUFFIXES)
"""The files of a user's folder that are read; others are counted and left alone."""

_OUTPUTS = ({"config.json", "metrics.jsonl"}, {"report.html", "comparison.md"})
"""Files by which a run directory and the report of a comparison are known: what a training writes
below its own corpus is no part of it, or the same command would find another corpus."""

_MOST_KINDS = 5
"""Other suffixes that a note names."""


@dataclass(frozen=True)
class Paths:
    """Files to read in order, below a root that names are relative to."""

    root: Path
    paths: list[Path]
    notes: list[str]


@dataclass(frozen=True)
class Found:
    """Documents as they are read."""

    each: Callable[[], Iterator[AnyDocument]]
    notes: Callable[[], list[str]]
    """What was left out; complete when all documents have been read."""

    def __iter__(self) -> Iterator[AnyDocument]:
        """Read the documents."""
        return self.each()


def find(source: str) -> Paths:
    """Return the files that the path `source` stands for; `CorpusError` if there are none."""
    path = Path(source).expanduser()
    if source and path.is_dir():
        below = files_below(path, suffixes=SUFFIXES, skip=frozenset())
        for error in below.closed:
            raise Unavailable(
                f"the folder {error.filename} cannot be read: {error.strerror}. Fix its "
                "permissions, or move it out of the corpus."
            ) from error
        if not below.paths:
            raise CorpusError(f"the folder {path} holds no files to read. {_accepted()}")
        return Paths(path, below.paths, _left_out(below))
    if path.suffix.lower() in SUFFIXES and path.exists():
        return Paths(path.parent, [path], [])
    if source and path.exists():
        raise CorpusError(f"{path} is not a kind of file that can be read. {_accepted()}")
    raise Missing(f"the corpus {source!r} does not exist. {_accepted()}")


def read(paths: Paths, rules: RowRules) -> Found:
    """Return the documents of files, rows in memory."""

    def each() -> Iterator[AnyDocument]:
        for path in paths.paths:
            name = path.relative_to(paths.root).as_posix()
            if rows.has_rows(path):
                yield from rows.read(path, name, rules)
            else:
                yield _document(path, name, rules)

    return Found(each, lambda: paths.notes)


def _document(path: Path, name: str, rules: RowRules) -> AnyDocument:
    try:
        return FileDocument.of(name, path)
    except BadText as error:
        return rules.bad(name, error)


@dataclass(frozen=True)
class Below:
    """Files below a folder, sorted, and what was left out."""

    paths: list[Path]
    linked: int
    """Linked folders, which are not followed."""
    closed: list[OSError]
    """Why folders could not be listed, each with its `filename`."""
    outputs: int
    """Run directories and reports of this package."""
    others: Counter[str]
    """How many files there are of each other suffix."""


def files_below(root: Path, *, suffixes: tuple[str, ...], skip: Collection[str]) -> Below:
    """Return the files with these suffixes.

    Hidden files and folders, ``__pycache__``, folders named in `skip` and what this package has
    written below `root` itself (`_OUTPUTS`) are left out.
    """
    paths: list[Path] = []
    closed: list[OSError] = []
    others: Counter[str] = Counter()
    linked = outputs = 0
    for folder, below, names in os.walk(root, onerror=closed.append):
        if Path(folder) != root and any(written <= set(names) for written in _OUTPUTS):
            outputs += 1
            below.clear()
            continue
        below[:] = [
            name
            for name in below
            if name not in skip and name != "__pycache__" and not name.startswith(".")
        ]
        linked += sum(os.path.islink(os.path.join(folder, name)) for name in below)
        seen = [Path(folder, name) for name in names if not name.startswith(".")]
        paths += [path for path in seen if path.name.lower().endswith(suffixes)]
        others.update(path.suffix for path in seen if not path.name.lower().endswith(suffixes))
    return Below(sorted(paths), linked, closed, outputs, others)


def _left_out(below: Below) -> list[str]:
    """Return the notes on linked folders and on files of other suffixes, the commonest first."""
    linked, outputs = below.linked, below.outputs
    notes = [f"{counted(linked, 'linked folder')} not followed"] if linked else []
    if outputs:
        folders = counted(outputs, "folder of runs and reports", "folders of runs and reports")
        notes.append(f"{folders} left out")
    if count := below.others.total():
        kinds = [suffix or "no suffix" for suffix, _ in below.others.most_common(_MOST_KINDS)]
        more = ", ..." if len(below.others) > _MOST_KINDS else ""
        files = counted(count, "file of another kind", "files of other kinds")
        notes.append(f"{files} left out ({', '.join(kinds)}{more})")
    return notes


def _accepted() -> str:
    return (
        "Give a built-in corpus (python, python-packages), a hub data set (fineweb-10bt, "
        f"hub:OWNER/NAME), a file that ends in {', '.join(SUFFIXES)}, a folder with such files, or "
        "the key of prepared tokens (`adana data list`)."
    )
