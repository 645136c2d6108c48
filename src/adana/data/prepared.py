"""Prepared tokens as a corpus of their own: named by their key or known by their fingerprint, used
without their text."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adana.data.cache import LEAST_DIGITS, Entry, entries, newest_first
from adana.data.config import TRAINED, DataConfig
from adana.data.errors import CorpusError, Missing, ShardError
from adana.data.shards import fingerprint_of, read_manifest
from adana.data.sources.hub import full_name
from adana.data.tokenizer import GPT2, GPT2_TOKENS, padded, ready_made
from adana.places import cache_folder

_KEY = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},16}}")
_MOST_NAMED = 3


def prepared_config(name: str, cache: Path | None = None) -> DataConfig | None:
    """Return what the tokens were made with whose key in `cache` is `name`, or begins so.

    `prepare` then takes them as they are and reads nothing of their text. `None` if `name` is not
    the beginning of a key of at least `LEAST_DIGITS` digits, or is the name of a file or folder.

    Raises `Missing` if it might be a key, but not of one folder of complete tokens in the cache
    (by default `cache_folder()`).
    """
    if not _KEY.fullmatch(name) or Path(name).exists():
        return None
    cache = cache or cache_folder()
    found = entries(cache, name)
    complete = [entry for entry in found if entry.manifest]
    if len(complete) != 1 or complete[0].manifest is None:
        states = "; ".join(f"{entry.key}: {entry.state}" for entry in found) or "none at all"
        raise Missing(
            f"the corpus {name!r} is no file or folder, and not the key of one set of complete "
            f"tokens in {cache}: there is {states}. `adana data list` shows what is there."
        )
    fields = {field.name for field in dataclasses.fields(DataConfig)}
    settings = complete[0].manifest["settings"]
    known = {name: value for name, value in settings.items() if name in fields}
    return DataConfig(**{**known, "prepared": complete[0].key})


def key_of_tokens(fingerprint: str, cache: Path | None = None) -> str | None:
    """Return the newest of `keys_of_tokens`, by default in `cache_folder()`; `None` without any."""
    return next(iter(keys_of_tokens(fingerprint, cache or cache_folder())), None)


def keys_of_tokens(fingerprint: str, cache: Path) -> list[str]:
    """Return the keys of complete tokens with this `Shards.fingerprint`, the newest first.

    Of their files only the sizes are looked at.
    """
    found = [
        entry
        for entry in entries(cache)
        if entry.manifest and fingerprint_of(entry.manifest) == fingerprint and _is_whole(entry)
    ]
    return [entry.key for entry in newest_first(found)]


def check_agreement(config: DataConfig, manifest: Mapping[str, Any]) -> None:
    """Raise `ValueError` if tokens were not made with the settings of `config` that names them."""
    made, asked = _without_name(manifest["settings"]), _without_name(config.settings())
    for name in (*made, *asked):
        if made.get(name) != asked.get(name):
            raise ValueError(
                f"the tokens {config.prepared} were made with {name} {made.get(name)}, not "
                f"{asked.get(name)}. Leave {name} as it was, or give the corpus by its own name "
                f"({config.corpus!r}) to prepare it anew."
            )


def with_keys(error: Missing, config: DataConfig, cache: Path) -> Missing:
    """Return the error for a missing corpus, and which tokens in the cache were made from it."""
    if config.fingerprint:
        return Missing(
            f"the corpus {config.corpus!r} does not exist any more, and its tokens (fingerprint "
            f"{config.fingerprint[:16]}) are not in the cache, or not whole. Put the text back, or "
            f"copy the folder of its tokens into {cache}."
        )
    made = newest_first(entry for entry in entries(cache) if _is_of(entry, config.corpus))
    if not made:
        return error
    named = "; ".join(_in_words(entry) for entry in made[:_MOST_NAMED])
    more = len(made) - _MOST_NAMED
    named += f"; and {more} more (`adana data list`)" if more > 0 else ""
    key = _the_one(made, config)
    advice = (
        f"To use them as they are: --data {key}"
        if key
        else "They are of several texts, or made with several settings: look at them with `adana "
        "data describe KEY`, and choose one with --data KEY"
    )
    return Missing(
        f"the corpus {config.corpus!r} does not exist any more, but tokens made from one of that "
        f"name are in the cache: {named}. {advice}"
    )


def _the_one(made: list[Entry], config: DataConfig) -> str | None:
    """Return the key of the tokens that must be meant; `None` if that is a guess.

    They are meant if there is one text, and one set of tokens that was made with the settings
    asked for (or, with none made so, one set at all).
    """
    texts = {entry.manifest["corpus"]["fingerprint"] for entry in made if entry.manifest}
    meant = [entry for entry in made if _is_as_asked(entry, config)] or made
    tokens = {fingerprint_of(entry.manifest) for entry in meant if entry.manifest}
    return meant[0].key if len(texts) == len(tokens) == 1 else None


def _in_words(entry: Entry) -> str:
    """Return key, date and training tokens of complete tokens."""
    tokens = entry.manifest["splits"]["train"]["tokens"] if entry.manifest else 0
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.made))
    return f"{entry.key} of {made}, {tokens:,} training tokens"


def tokenizer_size(config: DataConfig, cache: Path | None = None) -> int:
    """Return how many tokens the tokenizer of `config` has, or will have.

    Raises what `ready_made` raises.
    """
    if config.tokenizer == TRAINED:
        return config.vocab_size
    if config.tokenizer == GPT2:
        return GPT2_TOKENS
    if config.prepared:
        try:
            return int(read_manifest((cache or cache_folder()) / config.prepared)["vocab_size"])
        except ShardError:  # they are made again, from the text
            pass
    tokenizer = ready_made(config.tokenizer)
    return config.vocab_size if tokenizer is None else tokenizer.vocab_size


def model_vocab_size(config: DataConfig) -> int:
    """Return the vocabulary a model needs for `config`, padded where the tokenizer is ready-made.

    Raises what `ready_made` raises.
    """
    size = tokenizer_size(config)
    return size if config.tokenizer == TRAINED else padded(size)


def check_vocabulary_holds(vocab_size: int, config: DataConfig) -> None:
    """Raise `ValueError` if a model of `vocab_size` tokens has no room for those of `config`."""
    needed = tokenizer_size(config)
    if vocab_size < needed:
        raise ValueError(
            f"--vocab-size {vocab_size} is less than the {needed} tokens of the tokenizer "
            f"{config.tokenizer!r}: give the model at least {needed}, or leave the flag out for "
            f"{padded(needed)}."
        )


def changed_since(config: DataConfig, now: str) -> CorpusError:
    """Return the error for tokens that are gone, and whose text now gives those of key `now`."""
    return CorpusError(
        f"the tokens {config.prepared} are not in the cache (any more, or not whole), and the text "
        f"of {config.corpus!r} has changed since they were made: it gives {now} now. Copy the "
        f"folder {config.prepared} back into the cache, or train on the text as it is: --data "
        f"{config.corpus}"
    )


def _is_whole(entry: Entry) -> bool:
    """Return whether all files of complete tokens are there with as many bytes as they had."""
    files = entry.manifest["files"] if entry.manifest else {}
    return all(
        (path := entry.folder / name).is_file() and path.stat().st_size == about["size"]
        for name, about in files.items()
    )


def _is_of(entry: Entry, corpus: str) -> bool:
    if entry.manifest is None:
        return False
    return Path(full_name(entry.manifest["settings"]["corpus"])) == Path(full_name(corpus))


def _is_as_asked(entry: Entry, config: DataConfig) -> bool:
    made = entry.manifest
    return made is not None and _without_name(made["settings"]) == _without_name(config.settings())


def _without_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "corpus"}
