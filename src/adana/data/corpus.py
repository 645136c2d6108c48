"""Corpora: from a name or a path to documents, and from documents to training and validation.

Everything downstream is a function of the *content* of the documents: not of file names, folder
order, dates or machine. So the same text gives the same tokens everywhere, a moved folder is still
the same corpus, and a document that occurs twice cannot sit in training and in validation.
"""

from __future__ import annotations

import hashlib
import json
import os
import sysconfig
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adana.data.errors import CorpusError

SUFFIXES = (".txt", ".md", ".py", ".jsonl")
"""The files of a user's folder that are read; others are left alone."""

PIECE_BYTES = 8192
"""About how long the pieces are when a corpus of few documents has to be cut to be split."""

VALIDATION_FRACTION = 0.1
"""Share of a corpus held out for validation unless asked otherwise: a corpus of a few megabytes
needs that much for the validation set to be more than a handful of documents."""

_NOT_OURS = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages"})


@dataclass(frozen=True)
class Document:
    """One text, with a name that says where it came from."""

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


@dataclass(frozen=True)
class Corpus:
    """Distinct, non-empty documents sorted by name, and notes on what was left out."""

    source: str
    documents: list[Document]
    notes: list[str]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the sorted content hashes: the same texts under other names are the same."""
        digests = sorted(document.digest for document in self.documents)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    @cached_property
    def bytes(self) -> int:
        """Length of all documents together in UTF-8 bytes."""
        return sum(document.size for document in self.documents)


@dataclass(frozen=True)
class Split:
    """Training and validation documents in the order of their content hashes, and the rule."""

    train: list[Document]
    validation: list[Document]
    rule: str
    notes: list[str]

    @property
    def share(self) -> float:
        """Validation's share of the bytes, between 0 and 1."""
        held_out = _total(self.validation)
        return held_out / max(1, held_out + _total(self.train))


def read_corpus(source: str) -> Corpus:
    """Read a built-in corpus by name, or the user's file or folder by path.

    The built-in ``"python"`` is the source of the running interpreter's standard library without
    its tests, about 12 MB (a folder of that name is reached as ``./python``). A file is ``.txt``,
    ``.md`` or ``.py`` (one document) or ``.jsonl`` (one JSON object a line with a string field
    ``"text"``; each line is a document). A folder is read with its subfolders, except hidden ones
    and linked ones. Text is kept as it is, line ends included; all of it is held in memory.

    Raises `CorpusError` if there is nothing to read or if a file of the user's cannot be read.
    """
    reader = _BUILT_IN.get(source)
    try:
        found, notes = reader() if reader else _read_path(source)
    except OSError as error:
        raise CorpusError(
            f"the corpus {source!r} cannot be read: {error.strerror or error}. "
            "Fix the permissions of its folders, or give another corpus."
        ) from error
    documents, left_out = _distinct(found)
    if not documents:
        raise CorpusError(
            f"the corpus {source!r} has no text: {len(found)} documents were read, none with "
            "anything in it. Give a file or folder with some text."
        )
    return Corpus(source, documents, notes + left_out)


def split(documents: Sequence[Document], validation_fraction: float = VALIDATION_FRACTION) -> Split:
    """Hold out about `validation_fraction` of the bytes, chosen by content hash.

    Whole documents are held out where that comes within a factor of two of the fraction asked for.
    Otherwise (a single book, a few files of very different length) every document is first cut at
    line ends into pieces of about `PIECE_BYTES`, and the notes say so. Equal contents are always
    on the same side; names and the order of `documents` do not matter.

    Raises `ValueError` for a fraction outside (0, 0.5] and `CorpusError` for a corpus that is too
    small to give both sides something.
    """
    if not 0.0 < validation_fraction <= 0.5:
        raise ValueError(
            f"validation_fraction is {validation_fraction}, expected more than 0 and at most 0.5; "
            f"the default is {VALIDATION_FRACTION}."
        )
    ordered = _by_content(documents)
    whole = _split_documents(ordered, validation_fraction)
    close = validation_fraction / 2 <= whole.share <= validation_fraction * 2
    if whole.train and whole.validation and close:
        return whole
    return _split_pieces(ordered, validation_fraction)


def _split_documents(ordered: list[Document], fraction: float) -> Split:
    held_out = [_uniform(document) < fraction for document in ordered]
    return Split(
        train=[document for document, out in zip(ordered, held_out, strict=True) if not out],
        validation=[document for document, out in zip(ordered, held_out, strict=True) if out],
        rule=f"a document is held out if its sha256, as a number in [0, 1), is below {fraction}",
        notes=[],
    )


def _split_pieces(ordered: list[Document], fraction: float) -> Split:
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


def _cut(document: Document) -> Iterator[Document]:
    """Cut a document at line ends into pieces of about equal size; joined, they are the text."""
    count = max(1, -(-document.size // PIECE_BYTES))
    target = document.size / count
    part: list[str] = []
    number = done = 0
    for line in _short_lines(document.text):
        part.append(line)
        done += len(line.encode())
        if done >= target * (number + 1):
            yield Document(f"{document.name}#{number}", "".join(part))
            number, part = int(done / target), []
    if part:
        yield Document(f"{document.name}#{number}", "".join(part))


def _short_lines(text: str) -> Iterator[str]:
    """Yield the lines of a text with their ends; lines longer than a piece come in parts."""
    for line in text.splitlines(keepends=True):
        for start in range(0, len(line), PIECE_BYTES):
            yield line[start : start + PIECE_BYTES]


def _uniform(document: Document) -> float:
    """Return a number in [0, 1) that depends on the document's content only."""
    return int(document.digest[:13], 16) / 16**13


def _by_content(documents: Sequence[Document]) -> list[Document]:
    return sorted(documents, key=lambda document: document.digest)


def _total(documents: Sequence[Document]) -> int:
    return sum(document.size for document in documents)


def _distinct(found: Sequence[Document]) -> tuple[list[Document], list[str]]:
    """Drop empty documents and exact duplicates (the first name stays), and say how many."""
    kept: dict[str, Document] = {}
    filled = [document for document in found if document.text.strip()]
    for document in sorted(filled, key=lambda document: document.name):
        kept.setdefault(document.digest, document)
    notes = []
    if len(filled) < len(found):
        notes.append(f"{len(found) - len(filled)} empty documents left out")
    if len(kept) < len(filled):
        notes.append(f"{len(filled) - len(kept)} exact duplicates left out")
    return list(kept.values()), notes


def _read_standard_library() -> tuple[list[Document], list[str]]:
    root = Path(sysconfig.get_path("stdlib"))
    documents, skipped = [], 0
    for path in _files_below(root, suffixes=(".py",), skip=_NOT_OURS)[0]:
        try:
            documents.append(Document(path.relative_to(root).as_posix(), _read_text(path)))
        except CorpusError:
            skipped += 1
    if not documents:
        raise CorpusError(
            f"this interpreter's standard library has no .py files under {root}. "
            f"Use a Python with its sources, or a corpus of your own ({', '.join(SUFFIXES)})."
        )
    notes = [f"{skipped} files that are not UTF-8 text left out"] if skipped else []
    return documents, notes


_BUILT_IN: dict[str, Callable[[], tuple[list[Document], list[str]]]] = {
    "python": _read_standard_library
}


def _read_path(source: str) -> tuple[list[Document], list[str]]:
    path = Path(source).expanduser()
    if source and path.is_dir():
        paths, notes = _files_below(path, suffixes=SUFFIXES, skip=frozenset())
        if not paths:
            raise CorpusError(f"the folder {path} holds no files to read. {_accepted()}")
        root = path
    elif path.suffix.lower() in SUFFIXES and path.exists():
        paths, notes, root = [path], [], path.parent
    elif source and path.exists():
        raise CorpusError(f"{path} is not a kind of file that can be read. {_accepted()}")
    else:
        raise CorpusError(f"the corpus {source!r} does not exist. {_accepted()}")
    documents = [
        document
        for found in paths
        for document in _read_file(found, found.relative_to(root).as_posix())
    ]
    return documents, notes


def _accepted() -> str:
    return (
        f"Give a built-in corpus ({', '.join(_BUILT_IN)}), a file that ends in "
        f"{', '.join(SUFFIXES)}, or a folder with such files."
    )


def _files_below(
    root: Path, *, suffixes: tuple[str, ...], skip: Collection[str]
) -> tuple[list[Path], list[str]]:
    """Return the files with these suffixes, sorted, and a note on links that were not followed."""
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


def _read_file(path: Path, name: str) -> list[Document]:
    text = _read_text(path)
    if path.suffix.lower() != ".jsonl":
        return [Document(name, text)]
    return [
        Document(f"{name}:{number}", _text_field(line, path, number))
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1)
        if line.strip()
    ]


def _read_text(path: Path) -> str:
    """Read a file as UTF-8 without touching its line ends."""
    try:
        if not path.is_file():
            raise CorpusError(
                f"{path} is not a regular file (a broken link, a pipe?). "
                "Remove it from the corpus, or put the text in its place."
            )
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be read: {error.strerror or error}. Fix its permissions, "
            "or move it out of the corpus."
        ) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} is not valid UTF-8: byte {data[error.start]:#04x} at offset {error.start}. "
            "Convert it (for example `iconv -f latin1 -t utf-8`), or move it out of the corpus."
        ) from error


def _text_field(line: str, path: Path, number: int) -> str:
    """Return the ``"text"`` of one JSON line, with the file and line in every complaint."""
    where = f"{path}, line {number}"
    advice = 'Each line must be a JSON object such as {"text": "..."}.'
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: not valid JSON ({error}). {advice}") from error
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise CorpusError(f'{where}: no string field "text". {advice}')
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f'{where}: "text" has half of a surrogate pair at character {error.start}, which is '
            "no Unicode text. Write the file again from its source, or remove the line."
        ) from error
    return text
