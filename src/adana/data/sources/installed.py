"""Corpora that every machine has: the Python sources of the interpreter and of its packages.

They are read in place and never copied, so no licence is touched. Tests are left out: they repeat
each other, and much of them is data. They are another text on every machine, as their
fingerprint says.
"""

from __future__ import annotations

import site
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from adana.data.documents import AnyDocument, Document, read_text
from adana.data.errors import CorpusError
from adana.data.sources.files import SUFFIXES, Found, files_below

_PACKAGES = frozenset({"site-packages", "dist-packages"})
_TESTS = frozenset({"test", "tests", "idle_test"})


def _standard_library() -> Found:
    root = Path(sysconfig.get_path("stdlib"))
    return _sources([("", root, _TESTS | _PACKAGES)])


def _packages() -> Found:
    """The standard library, and whatever else this interpreter imports from its package folders."""
    library = Path(sysconfig.get_path("stdlib"))
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if hasattr(site, "getsitepackages"):
        folders += site.getsitepackages()
    there = dict.fromkeys(Path(folder).resolve() for folder in folders if Path(folder).is_dir())
    roots = [(f"packages{i or ''}/", folder, _TESTS) for i, folder in enumerate(there)]
    return _sources([("library/", library, _TESTS | _PACKAGES), *roots])


def _sources(roots: list[tuple[str, Path, frozenset[str]]]) -> Found:
    skipped = 0

    def each() -> Iterator[tuple[Path | None, AnyDocument]]:
        nonlocal skipped
        skipped = found = 0
        for prefix, root, skip in roots:
            for path in files_below(root, suffixes=(".py",), skip=skip)[0]:
                try:
                    text = read_text(path)
                except CorpusError:
                    skipped += 1
                    continue
                found += 1
                yield path, Document(prefix + path.relative_to(root).as_posix(), text)
        if not found:
            raise CorpusError(
                f"this interpreter's standard library has no .py files under {roots[0][1]}. "
                f"Use a Python with its sources, or a corpus of your own ({', '.join(SUFFIXES)})."
            )

    def notes() -> list[str]:
        return [f"{skipped} files that are not UTF-8 text left out"] if skipped else []

    return Found(each, notes)


BUILT_IN: dict[str, Callable[[], Found]] = {
    "python": _standard_library,
    "python-packages": _packages,
}
"""Corpora by name."""
