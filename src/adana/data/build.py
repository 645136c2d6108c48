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
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adana.data.config import DataConfig
from adana.data.documents import AnyDocument, Document, Text
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
from adana.data.split import BYTES_PER_TOKEN
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


def build(
    text: Text,
    config: DataConfig,
    folder: Path,
    tell: Progress,
    *,
    tokenizer: Tokenizer | None,
    shard_tokens: int = SHARD_TOKENS,
) -> None:
    """Write the shards of `text` into `folder`, going on from what is there; the manifest is last.

    `tokenizer` is the ready-made one, or `None` for one trained on the text. Raises `CorpusError`
    for text that cannot be used, `ShardError` if what is in the folder is damaged, `OSError` or
    `RunError` if the disk refuses; what is done stays in the folder, except after damage.
    """
    tokenizer = tokenizer or _trained(text, config, folder, tell)
    write_tokenizer(folder, tokenizer)
    journal = Journal(folder)
    state = journal.load()
    if state.read:
        tell(f"going on after {state.read:,} documents that are done", 0.3)
    state, sums = _write_splits(text, config, folder, journal, state, tokenizer, shard_tokens, tell)
    _check_both_sides(state, text)
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
        shard_tokens=shard_tokens,
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
        settings=dataclasses.asdict(config),
    )
    journal.remove()


def _left_out(state: State) -> list[str]:
    notes = [f"{state.empty} empty documents left out"] if state.empty else []
    if state.copies:
        notes.append(f"{state.copies} exact duplicates left out")
    return notes


def _check_both_sides(state: State, text: Text) -> None:
    for split, mark in state.marks.items():
        if mark.tokens == 0:
            raise CorpusError(
                f"the corpus {text.source!r} has no {split} documents: {state.taken} distinct ones "
                f"were read, and {text.rule}. Give more text, or another --validation-fraction."
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
    for document in text.read(None):
        if not text.held_out(document):
            yield document.text
            room -= document.size
            if room <= 0:
                return


def _write_splits(
    text: Text,
    config: DataConfig,
    folder: Path,
    journal: Journal,
    state: State,
    tokenizer: Tokenizer,
    shard_tokens: int,
    tell: Progress,
) -> tuple[State, dict[str, str]]:
    """Write what is left; return the last state, and the SHA-256 of every file by name."""
    dtype = token_dtype(tokenizer.vocab_size)
    with contextlib.ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                SplitWriter(
                    folder, split, dtype, tokenizer.end_of_text, shard_tokens, state.marks[split]
                )
            )
            for split in SPLITS
        }
        keeper = _Keeper(journal, state, writers)
        if not state.complete:
            known = SeenDigests(b"" if text.distinct else journal.seen(state))
            batches = _batches(text, state, None if text.distinct else known, config)
            try:
                _encode_all(batches, text, config, tokenizer, writers, keeper, tell)
            except BaseException:
                with contextlib.suppress(Exception):  # the first error is the one to hear about
                    keeper.commit()
                raise
            keeper.state = dataclasses.replace(keeper.state, complete=True)
            keeper.commit()
        sums: dict[str, str] = {}
        for split in SPLITS:
            sums |= writers[split].finish()
    return keeper.state, sums


class _Keeper:
    """Knows the last place where everything fits together, and writes it down now and then."""

    def __init__(self, journal: Journal, state: State, writers: dict[str, SplitWriter]) -> None:
        self.state = state
        self._journal, self._writers = journal, writers
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
            marks={split: writer.mark() for split, writer in self._writers.items()},
        )
        if time.monotonic() > self._due:
            self.commit()

    def commit(self) -> None:
        """Have everything up to the state on disk, then the state."""
        for writer in self._writers.values():
            writer.sync()
        self._journal.commit(self.state, self._digests, self._committed)
        self._committed += len(self._digests)
        self._digests = []
        self._due = time.monotonic() + COMMIT_SECONDS


def _batches(
    text: Text, state: State, known: SeenDigests | None, config: DataConfig
) -> Iterator[Batch]:
    """Yield what is left to read, empty documents and copies dropped where `known` is given."""
    reader = text.read(state.cursor)
    read, empty, copies = state.read, state.empty, state.copies
    limit = None if text.distinct else config.limit_documents  # a list is already cut
    for found in _groups(iter(reader)):
        documents = [d for d in found if known is None or d.text.strip()]
        digests = [bytes.fromhex(d.digest)[:WIDTH] for d in documents] if known is not None else []
        keep = known.new(digests) if known is not None else [True] * len(documents)
        read, empty = read + len(found), empty + len(found) - len(documents)
        copies += keep.count(False)
        kept = [d for d, new in zip(documents, keep, strict=True) if new]
        taken = read - empty - copies
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
        )
        if limit is not None and taken >= limit:
            return


def _groups(documents: Iterator[AnyDocument]) -> Iterator[list[AnyDocument]]:
    """Group documents to about `BATCH_BYTES`, with their texts in memory."""
    group: list[AnyDocument] = []
    size = 0
    for document in documents:
        group.append(Document(document.name, document.text))
        size += document.size
        if size >= BATCH_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _encode_all(
    batches: Iterator[Batch],
    text: Text,
    config: DataConfig,
    tokenizer: Tokenizer,
    writers: dict[str, SplitWriter],
    keeper: _Keeper,
    tell: Progress,
) -> None:
    """Encode the batches, one while the next is read, and write them until there is enough."""
    meter = _Meter(text, config, sum(w.bytes for w in writers.values()), tell)
    waiting: deque[tuple[Batch, Future[list[np.ndarray]]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            while True:
                while len(waiting) < _AHEAD and (batch := next(batches, None)) is not None:
                    waiting.append((batch, pool.submit(tokenizer.encode_documents, batch.texts)))
                if not waiting:
                    return
                batch, encoded = waiting.popleft()
                enough = _append(batch, encoded.result(), text, config, writers)
                keeper.advance(batch)
                meter.tell(writers)
                if enough:
                    return
        finally:
            for _, encoded in waiting:
                encoded.cancel()


def _append(
    batch: Batch,
    encoded: list[np.ndarray],
    text: Text,
    config: DataConfig,
    writers: dict[str, SplitWriter],
) -> bool:
    """Write a batch; return whether there are as many training tokens as were asked for."""
    train, limit = writers["train"], config.limit_tokens
    for document, ids in zip(batch.documents, encoded, strict=True):
        if limit is not None and train.tokens >= limit:
            return True
        side = "validation" if text.held_out(document) else "train"
        writers[side].append(ids, document.size)
    return limit is not None and train.tokens >= limit


class _Meter:
    """Says how far the encoding is, how fast it goes and, where it can be told, how long it takes."""

    def __init__(self, text: Text, config: DataConfig, done: int, tell: Progress) -> None:
        self._size, self._limit = text.size, config.limit_tokens
        self._tell, self._begun, self._first = tell, time.monotonic(), done
        self._first_tokens: int | None = None

    def tell(self, writers: dict[str, SplitWriter]) -> None:
        """Report, after a batch was written."""
        done = sum(writer.bytes for writer in writers.values())
        tokens = sum(writer.tokens for writer in writers.values())
        seconds = max(1e-9, time.monotonic() - self._begun)
        rate = (done - self._first) / seconds
        share, left = self._share(done, writers["train"].tokens)
        per_byte = tokens / max(1, done)
        line = f"turning text into tokens: {tokens:,} so far, {rate * per_byte:,.0f} a second"
        if share and left is not None and rate > 0:
            line += f", about {_duration(left / rate)} left"
        self._tell(line, 0.3 + 0.65 * share)

    def _share(self, done: int, train_tokens: int) -> tuple[float, float | None]:
        """Return the fraction that is done and the bytes that are left, if that can be told."""
        ends = []
        if self._size:
            ends.append((min(1.0, done / self._size), float(max(0, self._size - done))))
        if self._limit and train_tokens:
            share = min(1.0, train_tokens / self._limit)
            ends.append((share, done / share - done))
        return max(ends) if ends else (0.0, None)


def _duration(seconds: float) -> str:
    """Return a time for people: 40 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
