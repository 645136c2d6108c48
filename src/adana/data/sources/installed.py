"""Corpora that every machine has: the Python sources of the interpreter and of its packages.

They are read in place and never copied, so no licence is touched. Tests are left out: they repeat
each other, and much of them is data. They are another text on every machine, as their
fingerprint says.
"""

from __future__ import annotations

import site
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from adana.data.counting import counted
from adana.data.documents import AnyDocument, FileDocument
from adana.data.errors import CorpusError, NotUtf8
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
    left_out: Counter[tuple[str, str, str]] = Counter()

    def each() -> Iterator[AnyDocument]:
        left_out.clear()
        found = 0
        for prefix, root, skip in roots:
            below = files_below(root, suffixes=(".py",), skip=skip)
            left_out["linked folder", "linked folders", "not followed"] += below.linked
            left_out["folder that cannot be read", "folders that cannot be read", "left out"] += (
                len(below.closed)
            )
            for path in below.paths:
                try:
                    document = FileDocument.of(prefix + path.relative_to(root).as_posix(), path)
                except CorpusError as error:
                    binary = isinstance(error, NotUtf8)
                    one = "is not UTF-8 text" if binary else "cannot be read"
                    many = "are not UTF-8 text" if binary else "cannot be read"
                    left_out[f"file that {one}", f"files that {many}", "left out"] += 1
                    continue
                found += 1
                yield document
        if not found:
            raise CorpusError(
                f"this interpreter's standard library has no .py files under {roots[0][1]}. "
                f"Use a Python with its sources, or a corpus of your own ({', '.join(SUFFIXES)})."
            )

    def notes() -> list[str]:
        return [f"{counted(n, *what)} {fate}" for (*what, fate), n in left_out.items() if n]

    return Found(each, notes)


BUILT_IN: dict[str, Callable[[], Found]] = {
    "python": _standard_library,
    "python-packages": _packages,
}
"""Corpora by name."""
