"""What every source yields and every build reads: texts, known by their content.

Everything downstream is a function of the *content* of the documents: not of file names, folder
order, dates or machine. So the same text gives the same tokens everywhere, a moved folder is still
the same corpus, and a document that occurs twice cannot sit in training and in validation.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from adana.data.errors import CorpusError, Unavailable
from adana.data.plain_text import decode, text_offset

BLOCK_BYTES = 1 << 20
"""About how much of a file is in memory while it is listed or cut."""


class AnyDocument(Protocol):
    """One text: its name, its content hash, its size, and the text itself, read when asked for."""

    @property
    def name(self) -> str:
        """Where the text came from, for people."""
        ...

    @property
    def size(self) -> int:
        """Length of the text in UTF-8 bytes."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the text in UTF-8, in hexadecimal; the name plays no part."""
        ...

    @property
    def blank(self) -> bool:
        """Whether there is nothing in the text but white space."""
        ...

    @property
    def text(self) -> str:
        """The text."""
        ...


@dataclass(frozen=True)
class Document:
    """One text in memory, with a name that says where it came from."""

    name: str
    text: str

    @cached_property
    def size(self) -> int:
        """Length of the text in UTF-8 bytes."""
        return len(self.text.encode())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text, in hexadecimal; the name plays no part."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def blank(self) -> bool:
        """Whether there is nothing in the text but white space."""
        return not self.text.strip()


@dataclass(frozen=True)
class FileDocument:
    """The text of a file, or a piece of it, left on disk until it is read."""

    name: str
    path: Path
    size: int
    digest: str
    blank: bool = False
    offset: int = 0
    """Where the text or piece begins, in bytes."""

    @classmethod
    def of(cls, name: str, path: Path) -> FileDocument:
        """List a file: read it once, a block at a time; raises what `read_blocks` raises."""
        whole, size, blank, begin = hashlib.sha256(), 0, True, 0
        for offset, data, text in read_blocks(path):
            begin = begin if size else offset
            whole.update(data)
            size += len(data)
            blank = blank and not text.strip()
        return cls(name, path, size, whole.hexdigest(), blank, begin)

    @property
    def text(self) -> str:
        """The text; `CorpusError` if the file is no longer what was listed."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise unreadable(self.path, error) from error
        self._check(hashlib.sha256(data).hexdigest())
        return data.decode()

    def blocks(self) -> Iterator[str]:
        """Yield the text of a whole file in blocks that end where a line does.

        Raises what `read_blocks` raises, and `CorpusError` if the file is not what was listed.
        """
        whole = hashlib.sha256()
        for _, data, text in read_blocks(self.path):
            whole.update(data)
            yield text
        self._check(whole.hexdigest())

    def _check(self, digest: str) -> None:
        if digest != self.digest:
            raise CorpusError(
                f"{self.path} changed while the corpus was being prepared. Run the same command "
                "again when nothing is writing there."
            )


class Reader(Protocol):
    """Documents one after the other, from a place that can be written down and gone back to."""

    def __iter__(self) -> Iterator[AnyDocument]:
        """Yield the documents from here on."""
        ...

    def cursor(self) -> Any:
        """Return where the next document is, as something JSON can hold."""
        ...


@dataclass(frozen=True)
class Text:
    """A corpus as a build reads it: documents in an order that never changes, each on one side."""

    source: str
    """What was asked for, for people."""
    fingerprint: str
    """Decides which text this is: equal only if the documents and their order are."""
    read: Callable[[Any], Reader]
    """Returns a reader that goes on at a cursor; `None` is the beginning."""
    held_out: Callable[[AnyDocument], bool]
    """Whether a document is for validation: a function of its content."""
    rule: str
    """`held_out` in words."""
    distinct: bool
    """Whether the documents are known to be distinct and non-empty; else the build drops copies."""
    size: int | None
    """Bytes of text, for progress and ETA: exact if listed, else about; `None` if nobody knows."""
    documents: int | None = None
    """How many documents there are, if listed (before they are cut to be split)."""
    notes: tuple[str, ...] = ()
    """What was left out or cut, for people."""
    split_notes: tuple[str, ...] = ()
    """What was unusual about the split, for people."""


class ListReader:
    """Reads a list of documents; the cursor is the number of the next one."""

    def __init__(self, documents: list[AnyDocument], cursor: int | None) -> None:
        self._documents, self._next = documents, cursor or 0

    def __iter__(self) -> Iterator[AnyDocument]:
        """Yield the documents from the cursor on."""
        for document in self._documents[self._next :]:
            self._next += 1
            yield document

    def cursor(self) -> int:
        """Return the number of the next document."""
        return self._next


def read_blocks(path: Path) -> Iterator[tuple[int, bytes, str]]:
    """Yield a text file in blocks that end where a line does: offset, bytes, text with line ends.

    A byte order mark before the text is left out. Raises `BadText` that names the file if it is no
    text in UTF-8, and `Unavailable` if it cannot be read.
    """
    try:
        offset = text_offset(path)
        with path.open("rb") as file:
            file.seek(offset)
            while data := file.read(BLOCK_BYTES) + file.readline():
                yield offset, data, decode(data, path, offset)
                offset += len(data)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> Unavailable:
    """Return the error for a file of the user's that the system does not let us read."""
    return Unavailable(
        f"{path} cannot be read: {error.strerror or error}. Fix its permissions, "
        "or move it out of the corpus."
    )


@contextlib.contextmanager
def reading(source: str) -> Iterator[None]:
    """Say of what the system refuses meanwhile that it was reading this corpus: `Unavailable`."""
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"the corpus {source!r} cannot be read: {error.strerror or error}. Check its files and "
            "the permissions of its folders, or give another corpus."
        ) from error
