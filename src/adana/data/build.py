"""From documents to shards in one pass, in constant memory, and from where a killed one was.

Documents are read, copies dropped, and the rest gathered into batches of about a megabyte. While
one batch is turned into tokens, by all cores (the `tokenizers` library's threads: handing text to
processes and tokens back measured no faster, docs/evidence/data_throughput.md), the next one is
read. Batches are written in the order they were read, so the tokens do not depend on the machine.
Every few seconds the place is written to the journal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adana.data.bad_rows import BadDocument, note, tolerated
from adana.data.config import DataConfig
from adana.data.counting import counted
from adana.data.documents import AnyDocument, Document, Text, reading
from adana.data.errors import CorpusError
from adana.data.journal import Journal, State
from adana.data.seen import WIDTH, SeenDigests
from adana.data.shards import (
    SHARD_TOKENS,
    SPLITS,
    TOKENIZER,
    token_dtype,
    write_manifest,
    write_tokenizer,
)
from adana.data.split import BYTES_PER_TOKEN, flags_of_fraction
from adana.data.tokenizer import Tokenizer, train_tokenizer
from adana.data.writer import SplitWriter

Progress = Callable[[str, float], None]
"""Called with a line for people and the fraction of the whole that is done, from 0 to 1."""

SAMPLE_BYTES = 64 << 20
"""Training text that a tokenizer is trained on at most: the first documents of the corpus's order,
which in a listed corpus is that of their hashes. More changes few merges and takes minutes."""

BATCH_BYTES = 1 << 20
"""Text encoded at a time: enough for all cores, often reported."""

COMMIT_SECONDS = 15.0
"""What a killed build loses at most, about."""

_AHEAD = 2

_COUNTED = re.compile(
    r"\d+ (empty documents?|exact duplicates?|rows? or files? that (is|are) no text) left out"
)
"""Notes on what a build itself has counted begin so; those of older manifests say `1 rows`."""


@dataclass(frozen=True)
class Batch:
    """Documents to encode together, and where the reading was after the last of them."""

    documents: list[AnyDocument]
    texts: list[str]
    digests: list[bytes]
    cursor: Any
    read: int
    empty: int
    copies: int
    bad: int
    first_bad: str


@dataclass(frozen=True)
class Job:
    """What to build."""

    text: Text
    config: DataConfig
    tokenizer: Tokenizer | None = None
    """The ready-made tokenizer, or `None` for one trained on the text."""
    shard_tokens: int = SHARD_TOKENS
    """Tokens of a file."""


def build(job: Job, folder: Path, tell: Progress) -> None:
    """Write the shards of a job into `folder`, going on from what is there; the manifest is last.

    Raises `CorpusError` for text that cannot be used, `ShardError` if what is in the folder is
    damaged, `OSError` or `RunError` if the disk refuses; what is done stays in the folder.
    """
    text, config = job.text, job.config
    tokenizer = job.tokenizer or _trained(text, config, folder, tell)
    write_tokenizer(folder, tokenizer)
    journal = Journal(folder)
    state, sums = _write_splits(job, tokenizer, folder, journal, tell)
    _check_both_sides(state, text, config)
    write_manifest(
        folder,
        tokenizer=tokenizer,
        tokenizer_name=config.tokenizer,
        splits={
            split: {
                "tokens": mark.tokens,
                "documents": mark.documents,
                "bytes": mark.bytes,
                "files": [name for name in sums if name.startswith(split)],
            }
            for split, mark in state.marks.items()
        },
        sums=sums,
        shard_tokens=job.shard_tokens,
        corpus={
            "source": text.source,
            "fingerprint": text.fingerprint,
            "documents": text.documents or sum(mark.documents for mark in state.marks.values()),
            "bytes": sum(mark.bytes for mark in state.marks.values()),
            "notes": [*text.notes, *_left_out(state)],
        },
        split_rule={
            "validation_fraction": config.validation_fraction,
            "validation_tokens": config.validation_tokens,
            "rule": text.rule,
            "notes": list(text.split_notes),
        },
        settings=config.settings(),
    )
    journal.remove()


def described_as(corpus: Mapping[str, Any], text: Text) -> dict[str, Any]:
    """Return what a manifest says of its corpus, in the words of another reading of the same text.

    The same text may have another name, and other files beside it. What had to be counted while it
    was built is the same.
    """
    counted = [] if text.distinct else [each for each in corpus["notes"] if _COUNTED.match(each)]
    return {**corpus, "source": text.source, "notes": [*text.notes, *counted]}


def _left_out(state: State) -> list[str]:
    notes = [note(state.bad, state.first_bad)] if state.bad else []
    notes += [f"{counted(state.empty, 'empty document')} left out"] if state.empty else []
    if state.copies:
        notes.append(f"{counted(state.copies, 'exact duplicate')} left out")
    return notes


def _check_both_sides(state: State, text: Text, config: DataConfig) -> None:
    for split, mark in state.marks.items():
        if mark.tokens == 0:
            flags = flags_of_fraction(
                config.validation_fraction, config.validation_tokens, text.size
            )
            raise CorpusError(
                f"the corpus {text.source!r} has no {split} documents: {state.taken} distinct ones "
                f"were read, and {text.rule}. Give more text, or another {flags}."
            )


def _trained(text: Text, config: DataConfig, folder: Path, tell: Progress) -> Tokenizer:
    """Return the tokenizer that an earlier attempt trained, or train it."""
    with contextlib.suppress(OSError, ValueError):
        return Tokenizer.from_json((folder / TOKENIZER).read_text(encoding="utf-8"))
    tell(f"training a tokenizer of {config.vocab_size} tokens", 0.05)
    return train_tokenizer(_sample(text, config), config.vocab_size)


def _sample(text: Text, config: DataConfig) -> Iterator[str]:
    """Yield the first training documents, up to `SAMPLE_BYTES` or what is asked for in tokens."""
    room = min(SAMPLE_BYTES, (config.limit_tokens or SAMPLE_BYTES) * BYTES_PER_TOKEN)
    with reading(text.source):
        for document in tolerated(text.read(None), text.source):
            if not text.held_out(document):
                yield document.text
                room -= document.size
                if room <= 0:
                    return


def _write_splits(
    job: Job, tokenizer: Tokenizer, folder: Path, journal: Journal, tell: Progress
) -> tuple[State, dict[str, str]]:
    """Write what is left; return the last state, and the SHA-256 of every file by name."""
    state = journal.load()
    if state.read:
        tell(f"going on after {state.read:,} documents that are done", 0.3)
    with contextlib.ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                SplitWriter(
                    folder,
                    split,
                    dtype=token_dtype(tokenizer.vocab_size),
                    end=tokenizer.end_of_text,
                    shard_tokens=job.shard_tokens,
                    mark=state.marks[split],
                )
            )
            for split in SPLITS
        }
        keeper = _Keeper(journal, state, writers)
        if not state.complete:
            try:
                _write_batches(job, tokenizer, keeper, tell)
            except BaseException:
                if keeper.state.read or not job.tokenizer:  # there is something to go on from
                    with contextlib.suppress(Exception):  # the first error is the one to hear about
                        keeper.commit()
                raise
            keeper.state = dataclasses.replace(keeper.state, complete=True)
            keeper.commit()
        sums: dict[str, str] = {}
        for split in SPLITS:
            sums |= writers[split].finish()
    return keeper.state, sums


def _write_batches(job: Job, tokenizer: Tokenizer, keeper: _Keeper, tell: Progress) -> None:
    """Read, encode and write batches until there is enough or nothing is left."""
    known = None if job.text.distinct else SeenDigests(keeper.journal.seen(keeper.state))
    meter = _Meter(job, keeper.writers, tell)
    batches = _batches(job.text, keeper.state, known, job.config.limit_documents)
    for batch, encoded in _encoded(batches, tokenizer):
        enough = _append(batch, encoded, job, keeper.writers)
        keeper.advance(batch)
        meter.tell()
        if enough:
            return


class _Keeper:
    """Knows the last place where everything fits together, and writes it down now and then."""

    def __init__(self, journal: Journal, state: State, writers: dict[str, SplitWriter]) -> None:
        self.state = state
        self.journal, self.writers = journal, writers
        self._digests: list[bytes] = []
        self._committed = state.taken
        self._due = time.monotonic() + COMMIT_SECONDS

    def advance(self, batch: Batch) -> None:
        """Note that a batch has been written."""
        self._digests += batch.digests
        self.state = dataclasses.replace(
            self.state,
            cursor=batch.cursor,
            read=batch.read,
            empty=batch.empty,
            copies=batch.copies,
            bad=batch.bad,
            first_bad=batch.first_bad,
            marks={split: writer.mark() for split, writer in self.writers.items()},
        )
        if time.monotonic() > self._due:
            self.commit()

    def commit(self) -> None:
        """Have everything up to the state on disk, then the state."""
        for writer in self.writers.values():
            writer.sync()
        self.journal.commit(self.state, self._digests, self._committed)
        self._committed += len(self._digests)
        self._digests = []
        self._due = time.monotonic() + COMMIT_SECONDS


def _batches(
    text: Text, state: State, known: SeenDigests | None, limit: int | None
) -> Iterator[Batch]:
    """Yield what is left to read, empty documents and copies dropped where `known` is given.

    Bad ones are dropped too.
    """
    reader = text.read(state.cursor)
    read, empty, copies = state.read, state.empty, state.copies
    bad, first_bad = state.bad, state.first_bad
    limit = None if text.distinct else limit  # a list is already cut
    for all_read in _groups(tolerated(reader, text.source, read, bad), text.source):
        found, worse = _parted(all_read)
        bad, first_bad = bad + len(worse), first_bad or next(iter(worse), "")
        documents = [d for d in found if known is None or d.text.strip()]
        digests = [bytes.fromhex(d.digest)[:WIDTH] for d in documents] if known is not None else []
        keep = known.new(digests) if known is not None else [True] * len(documents)
        read, empty = read + len(all_read), empty + len(found) - len(documents)
        copies += keep.count(False)
        kept = [d for d, new in zip(documents, keep, strict=True) if new]
        taken = read - empty - copies - bad
        over = max(0, taken - limit) if limit is not None else 0
        kept = kept[: len(kept) - over]
        yield Batch(
            documents=kept,
            texts=[d.text for d in kept],
            digests=[bytes.fromhex(d.digest)[:WIDTH] for d in kept] if known is not None else [],
            cursor=reader.cursor(),
            read=read - over,
            empty=empty,
            copies=copies,
            bad=bad,
            first_bad=first_bad,
        )
        if limit is not None and taken >= limit:
            return


def _parted(documents: list[AnyDocument]) -> tuple[list[AnyDocument], list[str]]:
    """Return the documents that have a text, and the names of the bad ones."""
    worse = [document.name for document in documents if isinstance(document, BadDocument)]
    return [d for d in documents if not isinstance(d, BadDocument)], worse


def _groups(documents: Iterable[AnyDocument], source: str) -> Iterator[list[AnyDocument]]:
    """Group documents to about `BATCH_BYTES`, with their texts in memory."""
    group: list[AnyDocument] = []
    size = 0
    with reading(source):
        for document in documents:
            held = isinstance(document, Document)
            group.append(document if held else Document(document.name, document.text))
            size += document.size
            if size >= BATCH_BYTES:
                yield group
                group, size = [], 0
    if group:
        yield group


def _encoded(
    batches: Iterator[Batch], tokenizer: Tokenizer
) -> Iterator[tuple[Batch, list[np.ndarray]]]:
    """Yield the batches in order with the tokens of each document; the next are being encoded."""
    waiting: deque[tuple[Batch, Future[list[np.ndarray]]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            while True:
                while len(waiting) < _AHEAD and (batch := next(batches, None)) is not None:
                    waiting.append((batch, pool.submit(tokenizer.encode_documents, batch.texts)))
                if not waiting:
                    return
                batch, encoded = waiting.popleft()
                yield batch, encoded.result()
        finally:
            for _, encoded in waiting:
                encoded.cancel()


def _append(
    batch: Batch, encoded: list[np.ndarray], job: Job, writers: dict[str, SplitWriter]
) -> bool:
    """Write a batch; return whether there are as many training tokens as were asked for."""
    train, limit = writers["train"], job.config.limit_tokens
    for document, ids in zip(batch.documents, encoded, strict=True):
        if limit is not None and train.tokens >= limit:
            return True
        side = "validation" if job.text.held_out(document) else "train"
        writers[side].append(ids, document.size)
    return limit is not None and train.tokens >= limit


class _Meter:
    """Says how far the encoding is, how fast it goes and, where that can be told, how long yet."""

    def __init__(self, job: Job, writers: dict[str, SplitWriter], tell: Progress) -> None:
        self._size, self._limit = job.text.size, job.config.limit_tokens
        self._writers, self._tell = writers, tell
        self._begun, self._first = time.monotonic(), self._bytes()

    def tell(self) -> None:
        """Report, after a batch was written."""
        done = self._bytes()
        tokens = sum(writer.tokens for writer in self._writers.values())
        rate = (done - self._first) / max(1e-9, time.monotonic() - self._begun)
        share, left = self._share(done)
        per_second = rate * tokens / max(1, done)
        line = f"turning text into tokens: {tokens:,} so far, {per_second:,.0f} a second"
        if left is not None and rate > 0:
            line += f", about {_duration(left / rate)} left"
        self._tell(line, 0.3 + 0.65 * share)

    def _bytes(self) -> int:
        return sum(writer.bytes for writer in self._writers.values())

    def _share(self, done: int) -> tuple[float, float | None]:
        """Return the fraction that is done and the bytes that are left, if that can be told."""
        ends = []
        if self._size:
            ends.append((min(1.0, done / self._size), float(max(0, self._size - done))))
        train_tokens = self._writers["train"].tokens
        if self._limit and train_tokens:
            share = min(1.0, train_tokens / self._limit)
            ends.append((share, done / share - done))
        return max(ends) if ends else (0.0, None)


def _duration(seconds: float) -> str:
    """Return a time for people: 40 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
