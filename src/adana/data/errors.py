"""The ways in which data can be unusable: the text itself, or the tokens kept on disk."""

from __future__ import annotations


class CorpusError(ValueError):
    """A corpus that cannot be read, split or used; the message says which and what to do."""


class Unavailable(CorpusError):
    """A corpus that cannot be opened as things are; nothing is said against its text."""


class Unreachable(Unavailable):
    """A corpus or tokenizer on another machine that does not answer; it may tomorrow."""


class Missing(CorpusError):
    """A corpus of a name that stands for nothing on this machine."""


class BadText(CorpusError):
    """One row or file that is no text; the others of its corpus may well be."""


class NotUtf8(BadText):
    """Bytes that are no text in UTF-8."""


class ShardError(RuntimeError):
    """Tokens on disk that are incomplete, damaged or cannot be written; the message names them."""
