"""Rows and files that are no text: refused, or left out and counted while they are few.

More than a few of them do not mean bad rows, but a format that is another or a wrong `--text-field`
(and a corpus of which half is missing is not the one that was meant).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from adana.data.documents import AnyDocument, Document
from adana.data.errors import BadText, CorpusError

MOST_BAD = 0.01
"""Largest share of rows and files that may be left out as bad."""

FEW_BAD = 10
"""So many may be left out however small the corpus is, if they are not most of it."""

SOON_BAD = 100
"""So many may be left out before the share counts: they may well be close together."""

LEFT_OUT = "rows or files that are no text left out"
"""What a note on them says."""

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

    def bad(self, name: str, error: BadText) -> BadDocument:
        """Return what stands for a row or file that is no text; `BadText` if it is refused."""
        if self.skip_bad:
            return BadDocument(name, "", str(error))
        raise BadText(f"{error} {ADVICE}") from error


@dataclass(frozen=True)
class BadDocument(Document):
    """What is yielded in place of a row or file that is no text."""

    why: str = ""


def tolerated(
    documents: Iterable[AnyDocument], source: str, read: int = 0, bad: int = 0
) -> Iterator[AnyDocument]:
    """Yield `documents`; `CorpusError` once too many of them are bad.

    `read` documents, of which `bad` were, came before them.
    """
    why = ""
    for document in documents:
        read += 1
        if isinstance(document, BadDocument):
            bad, why = bad + 1, document.why
            _check_share(bad, read, SOON_BAD, source, why)
        yield document
    _check_share(bad, read, min(FEW_BAD, read // 2), source, why)


def note(count: int, first: str) -> str:
    """Return what the notes say of `count` bad rows, the first by its name."""
    return f"{count} {LEFT_OUT}, the first is {first}"


def _check_share(bad: int, read: int, allowed: int, source: str, why: str) -> None:
    if bad > max(allowed, MOST_BAD * read):
        example = f" One of them: {why}" if why else ""
        raise CorpusError(
            f"{bad} of the first {read} rows and files of {source!r} are no text, more than the "
            f"{MOST_BAD:.0%} that --bad-rows skip may leave out: they seem to be of another format "
            f"than their names say, or --text-field is wrong.{example}"
        )
