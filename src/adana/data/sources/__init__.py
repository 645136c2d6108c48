"""From the name of a corpus to a `Text`: which documents, in which order, on which side.

Two kinds of corpora are told apart. *Listed* ones (files of text, and rows of files of moderate
size) are read once to know the digest of every document; then they are put into the order of their
contents, which does not depend on names, and split by what is there. *Streamed* ones (the hub, and
rows of large files) are too large for that: they are read once, in their own order, and every
document is sent to one side by its own hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from adana.data.bad_rows import BadDocument, RowRules, note, tolerated
from adana.data.config import SKIP, DataConfig
from adana.data.counting import counted
from adana.data.digests import FileDigests
from adana.data.documents import AnyDocument, ListReader, Text, reading
from adana.data.errors import CorpusError
from adana.data.sources import files, hub, installed, rows
from adana.data.split import capped_fraction, check_fraction, hash_rule, is_held_out, split

LISTED_ROW_BYTES = 256 << 20
"""Bytes of .jsonl and .parquet files on disk above which a corpus is streamed: the rows of smaller
ones are held in memory."""


@dataclass(frozen=True)
class Corpus:
    """Distinct, non-empty documents sorted by name, and notes on what was left out."""

    source: str
    documents: list[AnyDocument]
    notes: list[str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the sorted content hashes: the same texts under other names are the same."""
        digests = sorted(document.digest for document in self.documents)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """Length of all documents together in UTF-8 bytes."""
        return sum(document.size for document in self.documents)


def open_text(config: DataConfig, cache: Path | None = None) -> Text:
    """Return the text of a configuration, listed or streamed.

    `cache` is where the checksums of large files are remembered.

    Raises `CorpusError` if there is nothing to read or if it cannot be read (`Unreachable` if it is
    on the hub and the hub does not answer), `ValueError` for a fraction out of range.
    """
    check_fraction(config.validation_fraction)
    rules = RowRules(config.text_field, skip_bad=config.bad_rows == SKIP)
    if hub.is_hub(config.corpus):
        return _streamed(config, hub.open_hub(config, rules, FileDigests(cache)))
    if config.corpus not in installed.BUILT_IN:
        with reading(config.corpus):
            paths = files.find(config.corpus)
            size = sum(rows.size_on_disk(path) for path in paths.paths if rows.has_rows(path))
        if size > LISTED_ROW_BYTES:
            return _streamed(config, rows.open_rows(paths, rules, FileDigests(cache)))
    return _listed(_read(config.corpus, rules, config.limit_documents), config)


def local_path(source: str) -> Path | None:
    """Return the path that the corpus `source` is on this machine; None if it is none."""
    if not source or source in installed.BUILT_IN or hub.is_hub(source):
        return None
    path = Path(source).expanduser()
    return path if path.exists() else None


def read_corpus(source: str, text_field: str = "text", limit: int | None = None) -> Corpus:
    """List a built-in corpus by name, or the user's file or folder by path.

    ``"python"`` is the source of the running interpreter's standard library without its tests,
    about 12 MB (a folder of that name is reached as ``./python``); ``"python-packages"`` is that
    and every installed package. A file is ``.txt``, ``.md`` or ``.py`` (one document), or
    ``.jsonl`` or ``.parquet`` (each line or row is a document, its text in `text_field`). A folder
    is read with its subfolders, except hidden ones and linked ones. Text is kept as it is, line
    ends included; files of text stay on disk, rows are held in memory. `limit` keeps the first
    documents only.

    Raises `CorpusError` if there is nothing to read or if a file of the user's cannot be read.
    """
    return _read(source, RowRules(text_field), limit)


def _read(source: str, rules: RowRules, limit: int | None) -> Corpus:
    reader = installed.BUILT_IN.get(source)
    with reading(source):
        found = reader() if reader else files.read(files.find(source), rules)
        documents, notes = _distinct(found, source, limit)
    return Corpus(source, documents, [*found.notes(), *notes])


def _distinct(
    found: Iterable[AnyDocument], source: str, limit: int | None
) -> tuple[list[AnyDocument], list[str]]:
    """Drop bad and empty documents and exact copies (the first name stays), and say how many."""
    kept: dict[str, AnyDocument] = {}
    bad: list[str] = []
    read = empty = 0

    def filled() -> Iterable[AnyDocument]:
        nonlocal read, empty
        for document in tolerated(found, source):
            read += 1
            if isinstance(document, BadDocument):
                bad.append(document.name)
            elif document.blank:
                empty += 1
            else:
                yield document

    for document in filled():
        kept.setdefault(document.digest, document)
        if limit is not None and len(kept) >= limit:
            break
    if not kept:
        were_read = f"{counted(read, 'document was', 'documents were')} read"
        raise CorpusError(
            f"the corpus {source!r} has no text: {were_read}, none with anything in it. Give a "
            "file or folder with some text."
        )
    notes = [note(len(bad), bad[0])] if bad else []
    notes += [f"{counted(empty, 'empty document')} left out"] if empty else []
    if copies := read - len(bad) - empty - len(kept):
        notes.append(f"{counted(copies, 'exact duplicate')} left out")
    return sorted(kept.values(), key=lambda document: document.name), notes


def _listed(corpus: Corpus, config: DataConfig) -> Text:
    fraction = capped_fraction(config.validation_fraction, config.validation_tokens, corpus.bytes)
    parts = split(corpus.documents, fraction)
    held_out = {document.digest for document in parts.validation}
    documents = [*parts.validation, *parts.train]
    return Text(
        source=corpus.source,
        fingerprint=corpus.fingerprint,
        read=lambda cursor: ListReader(documents, cursor),
        held_out=lambda document: document.digest in held_out,
        rule=parts.rule,
        distinct=True,
        size=corpus.bytes,
        documents=len(corpus.documents),
        notes=tuple(corpus.notes),
        split_notes=tuple(parts.notes),
    )


def _streamed(config: DataConfig, stream: rows.Stream) -> Text:
    fraction = capped_fraction(config.validation_fraction, config.validation_tokens, stream.size)
    return Text(
        source=config.corpus,
        fingerprint=stream.fingerprint,
        read=stream.read,
        held_out=lambda document: is_held_out(document, fraction),
        rule=hash_rule(fraction),
        distinct=False,
        size=stream.size,
        documents=None,
        notes=tuple(stream.notes),
    )
