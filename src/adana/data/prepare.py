"""From a corpus to tokens ready for training, once: the second time they come from the cache.

The cache is keyed by content and settings, so it needs no cleaning to stay right. A folder in it
is built under another name and renamed when it is complete, so nothing half-made is ever trained
on. That other name belongs to the key: whoever is killed on the way is carried on by the next
preparation of the same corpus, and of two at the same time one builds and the other waits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from adana.data.build import SAMPLE_BYTES, Job, Progress, build, described_as
from adana.data.cache import (
    BUILDING,
    clear,
    find_prepared,
    hold,
    move_into,
    release,
    remove_abandoned,
)
from adana.data.config import REFUSE, SKIP, TRAINED, DataConfig
from adana.data.documents import Text
from adana.data.errors import (
    BadText,
    CorpusError,
    Missing,
    ShardError,
    Unavailable,
    Unreachable,
)
from adana.data.journal import JOURNAL
from adana.data.prepared import changed_since, check_agreement, keys_of_tokens, with_keys
from adana.data.shards import FORMAT_VERSION, MANIFEST, SHARD_TOKENS, Shards, open_shards
from adana.data.sources import open_text
from adana.data.sources.hub import is_remote
from adana.data.tokenizer import check_vocabulary, ready_made
from adana.places import cache_folder
from adana.runs import RunError


def prepare(
    config: DataConfig,
    cache: Path | None = None,
    on_progress: Progress | None = None,
    *,
    verify: bool = False,
    shard_tokens: int = SHARD_TOKENS,
) -> Shards:
    """Return the verified tokens of `config`, from the cache if they are there and undamaged.

    `cache` defaults to `cache_folder()`; the tokens lie in ``cache/KEY/``. `on_progress` is called
    with a line for people and the fraction of the whole that is done, from 0 to 1; it is also told
    when a damaged cache is built again. `verify` reads every byte even of files that were found
    right before. `shard_tokens` is the length of a file.

    A preparation that is interrupted or killed loses a few seconds of work: the next one with the
    same settings goes on. If the hub does not answer but the corpus was prepared before with the
    same settings, that one is returned. Of `config.prepared`, whose tokens are in the cache,
    nothing but these is read; those of `config.fingerprint` are what is left of a text that is gone
    or has changed. Source and notes of the manifest returned are those of this reading;
    the file has those of the one that the tokens were built from.

    Raises `CorpusError` for text that cannot be used, `ShardError` if the cache cannot be written,
    `ValueError` for a vocabulary or fraction out of range, and what `on_progress` raises.
    """
    cache = cache or cache_folder()
    if config.tokenizer == TRAINED:  # before a large corpus is read, rather than after
        check_vocabulary(config.vocab_size)
    tell = _Teller(on_progress) if on_progress else _silent
    try:
        shards = _by_key(config, cache, tell, verify)
        if shards is None:
            shards = _from_text(config, cache, tell, verify, shard_tokens)
        tell("the tokens are ready", 1.0)
        return shards
    except _CallbackFailed as failed:
        raised = failed.error
    raise raised  # here, where nothing of ours is put into its context


def _by_key(config: DataConfig, cache: Path, tell: Progress, verify: bool) -> Shards | None:
    """Return the tokens that `config` names by their key, if they are there and undamaged."""
    if not config.prepared:
        return None
    shards = _open_cached(cache / config.prepared, tell, verify)
    if shards is not None:
        check_agreement(config, shards.manifest)
    return shards


def _from_text(
    config: DataConfig, cache: Path, tell: Progress, verify: bool, shard_tokens: int
) -> Shards:
    """Return the tokens of a text that is read now, from the cache or built."""
    tell("reading the corpus", 0.0)
    try:
        tokenizer, text = ready_made(config.tokenizer), open_text(config, cache)
    except CorpusError as error:
        return _without_text(config, cache, tell, error, verify)
    job = Job(text, config, tokenizer, shard_tokens)
    folder = cache / cache_key(job)
    why = f"the text of {config.corpus!r} has changed since, or is not in the cache as it was asked"
    if kept := _by_fingerprint(config, cache, tell, why, verify, given=folder.name):
        return kept
    if config.prepared and folder.name != config.prepared:
        raise changed_since(config, folder.name)
    missing = not folder.exists()
    shards = _open_cached(folder, tell, verify) or _build(job, folder, tell, missing)
    return _as_read_now(shards, text)


def _without_text(
    config: DataConfig, cache: Path, tell: Progress, error: CorpusError, verify: bool
) -> Shards:
    """Return the tokens of a text that cannot be opened now, or complain."""
    gone = f"the text of {config.corpus!r} does not exist any more"
    why = gone if isinstance(error, Missing) else str(error).partition(". ")[0]
    if kept := _by_fingerprint(config, cache, tell, why, verify):
        return kept
    if isinstance(error, Unreachable):
        return _prepared_before(config, cache, tell, error, verify)
    raise with_keys(error, config, cache) if isinstance(error, Missing) else error


def _by_fingerprint(
    config: DataConfig, cache: Path, tell: Progress, why: str, verify: bool, *, given: str = ""
) -> Shards | None:
    """Return the tokens whose fingerprint `config` knows; `None` if they are not in the cache.

    `why` says why they are needed. They are not if the text gives the key `given` and they lie
    there.
    """
    keys = keys_of_tokens(config.fingerprint, cache) if config.fingerprint else []
    if not keys or given in keys:
        return None
    folder = cache / keys[0]
    tell(f"using the tokens prepared before in {folder} (as --data {keys[0]} does): {why}", 0.5)
    return _open_cached(folder, tell, verify)


def _as_read_now(shards: Shards, text: Text) -> Shards:
    """Return shards with source and notes of this reading of their text.

    They may have been built from another: the same text under another name, beside other files.
    """
    corpus = described_as(shards.manifest["corpus"], text)
    return dataclasses.replace(shards, manifest={**shards.manifest, "corpus": corpus})


def cache_key(job: Job) -> str:
    """Return the name of the folder for this text and these settings, 16 hexadecimal digits.

    The name of the corpus plays no part, and a ready-made tokenizer counts by its content. The
    fraction that is held out of a streamed corpus depends on what was known of its size, so it
    counts.
    """
    settings = job.config.settings()
    del settings["corpus"]
    if job.tokenizer is not None:
        del settings["vocab_size"]
        settings["tokenizer"] = job.tokenizer.fingerprint
    if not job.text.distinct:
        settings["rule"] = job.text.rule
    parts = [FORMAT_VERSION, job.shard_tokens, SAMPLE_BYTES, job.text.fingerprint, settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _silent(stage: str, fraction: float) -> None:
    """Report nothing."""


class _CallbackFailed(BaseException):  # what handles errors of ours must not handle it
    """Carries an error of the caller's callback past all that explains errors of the disk."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class _Teller:
    """Calls the caller's callback."""

    def __init__(self, callback: Progress) -> None:
        self._callback = callback

    def __call__(self, stage: str, fraction: float) -> None:
        try:
            self._callback(stage, fraction)
        except Exception as error:
            raise _CallbackFailed(error) from error


def _prepared_before(
    config: DataConfig, cache: Path, tell: Progress, error: Unreachable, verify: bool
) -> Shards:
    """Return what was prepared with these settings when the hub did answer, or complain.

    Text on this machine must be the very same; of the hub's the name is enough.
    """
    text = None if is_remote(config.corpus) else open_text(config, cache)
    folder = find_prepared(cache, config, text.fingerprint if text else None)
    if folder is None:
        raise error
    tell(f"using the tokens prepared before in {folder}, because {error}", 0.5)
    shards = open_shards(folder, verify=verify)
    return _as_read_now(shards, text) if text else shards


def _open_cached(folder: Path, tell: Progress, verify: bool) -> Shards | None:
    if not folder.exists():
        return None
    try:
        return open_shards(folder, verify=verify, on_progress=tell)
    except ShardError as error:
        tell(f"building the tokens again, because the cached ones are damaged: {error}", 0.05)
        return None


def _build(job: Job, folder: Path, tell: Progress, missing: bool) -> Shards:
    """Build, or take what somebody else has built since `folder` was found missing or damaged."""
    place = folder.with_name(BUILDING + folder.name)
    with _explain_disk_errors(folder.parent), hold(place, tell) as waited:
        remove_abandoned(folder.parent)
        if waited or (missing and folder.exists()):
            with contextlib.suppress(ShardError):
                return open_shards(folder)
        if job.config.bad_rows == SKIP:
            _go_on_from_refused(job, place, tell)
        with _nothing_left_without_progress(place):
            if (place / MANIFEST).exists():  # whoever made it was stopped before the renaming
                with contextlib.suppress(ShardError):
                    return _install(open_shards(place), folder)
            try:
                build(job, place, tell)
                shards = open_shards(place)
            except ShardError as error:
                tell(f"beginning again, because what was half done is damaged: {error}", 0.05)
                clear(place)
                build(job, place, tell)
                shards = open_shards(place)
            return _install(shards, folder)


def _go_on_from_refused(job: Job, place: Path, tell: Progress) -> None:
    """Take over what a build did before it refused a bad row: up to there both do the same."""
    strict = dataclasses.replace(job.config, bad_rows=REFUSE)
    other = place.with_name(BUILDING + cache_key(dataclasses.replace(job, config=strict)))
    if (place / JOURNAL).exists() or not (other / JOURNAL).exists():
        return
    with hold(other, tell):
        if (other / JOURNAL).exists():  # still, after waiting for somebody else
            move_into(other, place, last=JOURNAL)


def _install(shards: Shards, folder: Path) -> Shards:
    """Rename a complete folder into place, a damaged one out of it first.

    The opened files stay valid through the rename, whatever others do to the name afterwards.
    """
    if folder.exists():
        _discard(folder)
    os.rename(shards.folder, folder)
    release(folder)
    return dataclasses.replace(shards, folder=folder)


def _discard(folder: Path) -> None:
    """Take a damaged folder out of the way in one step, then delete it."""
    aside = folder.with_name(f"{BUILDING}{folder.name}-{uuid.uuid4().hex[:12]}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, aside)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()


@contextlib.contextmanager
def _nothing_left_without_progress(place: Path) -> Iterator[None]:
    """Remove the folder of a build that failed before it had anything to go on from.

    Text that cannot be used would fail again; a corpus that cannot be opened may be there tomorrow,
    and bad rows can be skipped.
    """
    try:
        yield
    except BaseException as error:
        hopeless = isinstance(error, CorpusError) and not isinstance(error, Unavailable | BadText)
        begun = (place / JOURNAL).exists() or (place / MANIFEST).exists()
        if hopeless or not begun:
            shutil.rmtree(place, ignore_errors=True)
        elif isinstance(error, BadText):
            _say_what_is_kept(error)
        raise


def _say_what_is_kept(error: BadText) -> NoReturn:
    raise BadText(
        f"{error} What is done is kept, and the same command with that flag goes on from it. (A "
        "text that was mended is another one, and is prepared from its beginning.)"
    ) from error


@contextlib.contextmanager
def _explain_disk_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RunError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        why = getattr(cause, "strerror", None) or str(cause)
        raise ShardError(
            f"the tokens cannot be written to {cache}: {why}. What was finished is kept. Free "
            "some space or fix the permissions there, or set ADANA_CACHE to another folder, and "
            "run the same command again."
        ) from error
