"""The ways in which data can be unusable: the text itself, or the tokens kept on disk."""

from __future__ import annotations


class CorpusError(ValueError):
    """A corpus that cannot be read, split or used; the message says which and what to do."""


class Unavailable(CorpusError):
    """A corpus that cannot be opened as things are; nothing is said against its text."""


class Unreachable(Unavailable):
    """A corpus or tokenizer on another machine that does not answer; it may tomorrow."""


class ShardError(RuntimeError):
    """Tokens on disk that are incomplete, damaged or cannot be written; the message names them."""
