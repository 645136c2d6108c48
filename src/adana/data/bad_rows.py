"""Rows and files that are no text: refused, or left out and counted while they are few.

More than a few of them do not mean bad rows, but a format that is another or a wrong `--text-field`
(and a corpus of which half is missing is not the one that was meant).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from adana.data.counting import counted
from adana.data.documents import AnyDocument, Document
from adana.data.errors import BadText, CorpusError

MOST_BAD = 0.01
"""Largest share of rows and files that may be left out as bad."""

FEW_BAD = 10
"""So many may be left out however small the corpus is, if they are not most of it."""

SOON_BAD = 100
"""So many may be left out before the share counts: they may well be close together."""

ADVICE = "Or leave such rows and files out: --bad-rows skip."


@dataclass(frozen=True)
class RowRules:
    """How rows and files become documents."""

    text_field: str = "text"
    """Field or column with the text."""
    skip_bad: bool = False
    """Whether what is no text is left out rather than refused."""

    def document(self, name: str, read: Callable[[], str]) -> Document:
        """Return the document with the text that `read` returns, or that stands for a bad one."""
        try:
            return Document(name, read())
        except BadText as error:
            return self.bad(name, error)

    def bad(self, name: str, error: BadText, *, rest: bool = False) -> BadDocument:
        """Return what stands for a row or file that is no text; `BadText` if it is refused.

        With `rest` it stands for all that is left of a file.
        """
        if self.skip_bad:
            return BadDocument(name, "", str(error), rest)
        raise BadText(f"{error} {ADVICE}") from error


@dataclass(frozen=True)
class BadDocument(Document):
    """What is yielded in place of a row or file that is no text."""

    why: str = ""
    rest: bool = False
    """Whether it stands for all that is left of its file."""


def tolerated(
    documents: Iterable[AnyDocument], source: str, read: int = 0, bad: int = 0
) -> Iterator[AnyDocument]:
    """Yield `documents`; `CorpusError` once too many of them are bad.

    `read` documents, of which `bad` were, came before them.
    """
    example = ""
    for document in documents:
        read += 1
        if isinstance(document, BadDocument):
            which = "One" if bad else "The first"
            example = example or f"{which} of them: {document.why}"
            bad += 1
            _check_share(bad, read, SOON_BAD, source, example)
        yield document
    _check_share(bad, read, min(FEW_BAD, read // 2), source, example)


def note(count: int, first: str) -> str:
    """Return what the notes say of `count` bad rows, the first by its name."""
    what = counted(count, "row or file that is no text", "rows or files that are no text")
    return f"{what} left out, the first is {first}"


def _check_share(bad: int, read: int, allowed: int, source: str, example: str) -> None:
    if bad > max(allowed, MOST_BAD * read):
        raise CorpusError(
            f"{bad} of the first {read} rows and files of {source!r} are no text, more than the "
            f"{MOST_BAD:.0%} that --bad-rows skip may leave out: they seem to be of another format "
            f"than their names say, or --text-field is wrong. {example}".rstrip()
        )
