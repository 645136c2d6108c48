"""From a corpus to tokens ready for training, once: the second time they come from the cache.

The cache is keyed by content and settings, so it needs no cleaning to stay right. A folder in it
is built under another name and renamed when it is complete: processes that prepare the same corpus
at the same time, or die on the way, cannot leave something half-made to train on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adana.data.corpus import (
    VALIDATION_FRACTION,
    Corpus,
    Document,
    Split,
    read_corpus,
    split,
)
from adana.data.errors import ShardError
from adana.data.shards import (
    FORMAT_VERSION,
    Shards,
    open_shards,
    write_manifest,
    write_split,
    write_tokenizer,
)
from adana.data.tokenizer import Tokenizer, train_tokenizer
from adana.runs import RunError

Progress = Callable[[str, float], None]

_BUILDING = ".building-"
_ABANDONED_SECONDS = 7 * 24 * 3600
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class DataConfig:
    """What text to train on and how to cut it into tokens."""

    corpus: str = "python"
    """`python` (the standard library's source, 12 MB), or a .txt/.md/.py/.jsonl file or folder."""
    vocab_size: int = 1024
    """Number of tokens in the vocabulary, end-of-text included; at least 257."""
    validation_fraction: float = VALIDATION_FRACTION
    """Share of the text held out for validation, above 0 and at most 0.5."""


def cache_folder() -> Path:
    """Return ``$ADANA_CACHE``, else ``$XDG_CACHE_HOME/adana``, else ``~/.cache/adana``."""
    if chosen := os.environ.get("ADANA_CACHE"):
        return Path(chosen).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "adana"
    return Path.home() / ".cache" / "adana"


def prepare(
    config: DataConfig, cache: Path | None = None, on_progress: Progress | None = None
) -> Shards:
    """Return the verified tokens of `config`, from the cache if they are there and undamaged.

    `cache` defaults to `cache_folder()`; the tokens lie in ``cache/KEY/``. `on_progress` is called
    with a line for people and the fraction of the whole that is done, from 0 to 1; it is also told
    when a damaged cache is built again.

    Raises `CorpusError` for text that cannot be used, `ShardError` if the cache cannot be written,
    `ValueError` for a vocabulary or fraction out of range.
    """
    tell = on_progress or _silent
    tell("reading the corpus", 0.0)
    corpus = read_corpus(config.corpus)
    folder = (cache or cache_folder()) / cache_key(corpus, config)
    shards = _open_cached(folder, tell) or _build(corpus, config, folder, tell)
    tell("the tokens are ready", 1.0)
    return shards


def cache_key(corpus: Corpus, config: DataConfig) -> str:
    """Return the name of the folder for this text and these settings, 16 hexadecimal digits."""
    parts = [FORMAT_VERSION, corpus.fingerprint, config.vocab_size, config.validation_fraction]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _silent(stage: str, fraction: float) -> None:
    """Report nothing."""


def _open_cached(folder: Path, tell: Progress) -> Shards | None:
    if not folder.exists():
        return None
    try:
        return open_shards(folder)
    except ShardError as error:
        tell(f"building the tokens again, because the cached ones are damaged: {error}", 0.05)
        return None


def _build(corpus: Corpus, config: DataConfig, folder: Path, tell: Progress) -> Shards:
    parts = split(corpus.documents, config.validation_fraction)
    tell(f"training a tokenizer of {config.vocab_size} tokens", 0.05)
    texts = [document.text for document in parts.train]
    tokenizer = train_tokenizer(texts, config.vocab_size)
    with _explain_disk_errors(folder.parent):
        _remove_abandoned(folder.parent)
        with _temporary_folder(folder) as temporary:
            _write(
                temporary,
                corpus=corpus,
                config=config,
                parts=parts,
                tokenizer=tokenizer,
                tell=tell,
            )
            return _install(open_shards(temporary), folder)


def _write(
    folder: Path,
    *,
    corpus: Corpus,
    config: DataConfig,
    parts: Split,
    tokenizer: Tokenizer,
    tell: Progress,
) -> None:
    total = sum(document.size for document in [*parts.train, *parts.validation])
    done = 0

    def encoded(documents: Sequence[Document]) -> Iterator[np.ndarray]:
        nonlocal done
        for chunk in _chunks(documents):
            yield from tokenizer.encode_documents([document.text for document in chunk])
            done += sum(document.size for document in chunk)
            tell("turning text into tokens", 0.3 + 0.65 * done / total)

    counts = {
        "train": write_split(folder, "train", encoded(parts.train), tokenizer),
        "validation": write_split(folder, "validation", encoded(parts.validation), tokenizer),
    }
    write_tokenizer(folder, tokenizer)
    write_manifest(
        folder,
        tokenizer=tokenizer,
        splits=counts,
        corpus={
            "source": corpus.source,
            "fingerprint": corpus.fingerprint,
            "documents": len(corpus.documents),
            "bytes": corpus.bytes,
            "notes": corpus.notes,
        },
        split_rule={
            "validation_fraction": config.validation_fraction,
            "rule": parts.rule,
            "notes": parts.notes,
        },
    )


def _chunks(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """Group documents to about `_CHUNK_BYTES`: enough to encode in parallel, often reported."""
    chunk: list[Document] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += document.size
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _install(shards: Shards, folder: Path) -> Shards:
    """Rename a complete folder into place; if someone was faster and theirs is sound, use theirs.

    The opened files stay valid through the rename, whatever others do to the name afterwards.
    """
    while True:
        try:
            os.rename(shards.folder, folder)
            return dataclasses.replace(shards, folder=folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        with contextlib.suppress(ShardError):
            return open_shards(folder)
        _discard(folder)


def _discard(folder: Path) -> None:
    """Take a damaged folder out of the way in one step, then delete it."""
    aside = _sibling(folder)
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, aside)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()


def _sibling(folder: Path) -> Path:
    return folder.with_name(f"{_BUILDING}{folder.name}-{uuid.uuid4().hex[:12]}")


@contextlib.contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Make a folder of our own next to `folder`; whatever is still there at the end is removed."""
    temporary = _sibling(folder)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_abandoned(cache: Path) -> None:
    """Remove what killed preparations left behind, once nobody can still be working on it."""
    now = time.time()
    for left in cache.glob(f"{_BUILDING}*"):
        with contextlib.suppress(OSError):
            if now - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _explain_disk_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RunError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        why = getattr(cause, "strerror", None) or str(cause)
        raise ShardError(
            f"the tokens cannot be written to {cache}: {why}. Nothing half-written was kept. Free "
            "some space or fix the permissions there, or set ADANA_CACHE to another folder, and "
            "run again."
        ) from error
