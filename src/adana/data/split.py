"""What is held out for validation, decided by content: equal texts are always on the same side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adana.data.documents import AnyDocument, Document, FileDocument
from adana.data.errors import CorpusError

PIECE_BYTES = 8192
"""About how long the pieces are when a corpus of few documents has to be cut to be split."""

VALIDATION_FRACTION = 0.1
"""Share of a corpus held out for validation unless asked otherwise: a corpus of a few megabytes
needs that much for the validation set to be more than a handful of documents."""

VALIDATION_TOKENS = 10_000_000
"""Validation tokens beyond which a larger share buys nothing: the fraction of a large corpus is
lowered to give about as many. The reference holds out a tenth of it (spec/training.md section 4),
which leaves a standard error of a few thousandths of a nat (section 5)."""

UNKNOWN_SIZE_FRACTION = 0.001
"""Share held out of a corpus of unknown size: `VALIDATION_TOKENS` of ten billion."""

BYTES_PER_TOKEN = 4
"""Bytes of text that a token stands for, where a rough number will do."""


@dataclass(frozen=True)
class Split:
    """Training and validation documents in the order of their content hashes, and the rule."""

    train: list[AnyDocument]
    validation: list[AnyDocument]
    rule: str
    notes: list[str]

    @property
    def share(self) -> float:
        """Validation's share of the bytes, between 0 and 1."""
        held_out = _total(self.validation)
        return held_out / max(1, held_out + _total(self.train))


def check_fraction(validation_fraction: float) -> None:
    """Raise `ValueError` for a fraction outside (0, 0.5]."""
    if not 0.0 < validation_fraction <= 0.5:
        raise ValueError(
            f"validation_fraction is {validation_fraction}, expected more than 0 and at most 0.5; "
            f"the default is {VALIDATION_FRACTION}."
        )


def capped_fraction(fraction: float, tokens: int, size: int | None) -> float:
    """Return `fraction`, lowered so that about `tokens` of a text of `size` bytes are held out.

    A text of unknown size is taken for one of ten billion tokens.
    """
    if size is None:
        return min(fraction, UNKNOWN_SIZE_FRACTION * tokens / VALIDATION_TOKENS)
    return min(fraction, tokens * BYTES_PER_TOKEN / max(1, size))


def flags_of_fraction(fraction: float, tokens: int, size: int | None) -> str:
    """Return which flags decide what `capped_fraction` gives for a text of `size` bytes."""
    if capped_fraction(fraction, tokens, size) == fraction:
        return "--validation-fraction"
    if size is None:
        return "--validation-tokens or --limit-tokens, which stands for the size nobody knows"
    return "--validation-tokens"


def is_held_out(document: AnyDocument, fraction: float) -> bool:
    """Return whether the content hash, as a number in [0, 1), is below `fraction`."""
    return int(document.digest[:13], 16) / 16**13 < fraction


def hash_rule(fraction: float) -> str:
    """Return `is_held_out` in words."""
    return f"a document is held out if its sha256, as a number in [0, 1), is below {fraction}"


def split(
    documents: Sequence[AnyDocument], validation_fraction: float = VALIDATION_FRACTION
) -> Split:
    """Hold out about `validation_fraction` of the bytes, chosen by content hash.

    Whole documents are held out where that comes within a factor of two of the fraction asked for.
    Otherwise (a single book, a few files of very different length) every document is first cut at
    line ends into pieces of about `PIECE_BYTES`, and the notes say so. Equal contents are always
    on the same side; names and the order of `documents` do not matter.

    Raises `ValueError` for a fraction outside (0, 0.5] and `CorpusError` for a corpus that is too
    small to give both sides something.
    """
    check_fraction(validation_fraction)
    ordered = _by_content(documents)
    whole = _split_documents(ordered, validation_fraction)
    close = validation_fraction / 2 <= whole.share <= validation_fraction * 2
    if whole.train and whole.validation and close:
        return whole
    return _split_pieces(ordered, validation_fraction)


def _split_documents(ordered: list[AnyDocument], fraction: float) -> Split:
    held_out = [is_held_out(document, fraction) for document in ordered]
    return Split(
        train=[document for document, out in zip(ordered, held_out, strict=True) if not out],
        validation=[document for document, out in zip(ordered, held_out, strict=True) if out],
        rule=hash_rule(fraction),
        notes=[],
    )


def _split_pieces(ordered: list[AnyDocument], fraction: float) -> Split:
    """Hold out pieces in the order of their hashes until the fraction is reached, at most half."""
    pieces = _by_content([piece for document in ordered for piece in _cut(document)])
    total = _total(pieces)
    sizes: dict[str, int] = {}
    for piece in pieces:
        sizes[piece.digest] = sizes.get(piece.digest, 0) + piece.size
    chosen: set[str] = set()
    held_out = 0
    for digest, size in sizes.items():
        if held_out < fraction * total and held_out + size <= total / 2:
            chosen.add(digest)
            held_out += size
    if not chosen:
        raise CorpusError(
            f"the corpus is too small to split: {total} bytes make {len(sizes)} distinct piece(s) "
            f"of about {PIECE_BYTES} bytes, and training and validation need at least one each. "
            "Give more text: a few hundred kilobytes at least for a model to learn anything."
        )
    note = (
        f"the documents were cut at line ends into {len(pieces)} pieces of about {PIECE_BYTES} "
        f"bytes, because whole documents do not split near {fraction:.1%}; "
        f"{held_out / total:.1%} of the bytes are held out"
    )
    return Split(
        train=[piece for piece in pieces if piece.digest not in chosen],
        validation=[piece for piece in pieces if piece.digest in chosen],
        rule=f"pieces of about {PIECE_BYTES} bytes are held out in the order of their sha256 "
        f"until they make {fraction} of the bytes",
        notes=[note],
    )


def _cut(document: AnyDocument) -> Iterator[AnyDocument]:
    """Cut a document at line ends into pieces of about equal size; joined, they are the text.

    Those of a file stay on disk.
    """
    count = max(1, -(-document.size // PIECE_BYTES))
    target = document.size / count
    part: list[str] = []
    number = done = 0
    for line in _short_lines(document):
        part.append(line)
        done += len(line.encode())
        if done >= target * (number + 1):
            yield _piece(document, number, "".join(part), done)
            number, part = int(done / target), []
    if part:
        yield _piece(document, number, "".join(part), done)


def _piece(document: AnyDocument, number: int, text: str, end: int) -> AnyDocument:
    """Return the piece of a document that ends at byte `end`; that of a file without its text."""
    piece = Document(f"{document.name}#{number}", text)
    if not isinstance(document, FileDocument):
        return piece
    offset = document.offset + end - piece.size
    return FileDocument(piece.name, document.path, piece.size, piece.digest, piece.blank, offset)


def _short_lines(document: AnyDocument) -> Iterator[str]:
    """Yield the lines of a text with their ends; lines longer than a piece come in parts."""
    for text in document.blocks() if isinstance(document, FileDocument) else [document.text]:
        for line in text.splitlines(keepends=True):
            for start in range(0, len(line), PIECE_BYTES):
                yield line[start : start + PIECE_BYTES]


def _by_content(documents: Sequence[AnyDocument]) -> list[AnyDocument]:
    return sorted(documents, key=lambda document: document.digest)


def _total(documents: Sequence[AnyDocument]) -> int:
    return sum(document.size for document in documents)
