"""`adana data`: prepare corpora, and look after what has been prepared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from adana.cli.data_flags import DataFlags
from adana.cli.prepare import open_with_bar, prepare_with_bar
from adana.cli.terminal import print_rows, say
from adana.data import Entry, ShardError, cache_folder, delete, entries, find


@dataclass(frozen=True)
class DataArguments(DataFlags):
    """Turn a corpus into tokens once, so that trainings start at once; see what is there.

    What can be asked:
        adana data                            prepare the default corpus and describe it
        adana data prepare python-packages    hundreds of MB of text from this very machine
        adana data prepare my_texts/          a folder of .txt, .md, .py, .jsonl and .parquet files
        adana data prepare fineweb-10bt --tokenizer gpt2 --limit-tokens 1000000000
        adana data list                       what is in the cache, finished or not
        adana data describe KEY               where tokens came from, and how they were split
        adana data verify [KEY]               read every byte again and compare checksums
        adana data delete KEY                 free the space

    Interrupt a preparation whenever you like: the same command goes on where it was. The cache lies
    in $ADANA_CACHE, else ~/.cache/adana; a KEY may be shortened to its first digits (8 at least to
    delete). Trainings take it too (8 at least), as --data KEY: the tokens as they are, without
    their text.
    """

    action: tyro.conf.Positional[Literal["prepare", "list", "describe", "verify", "delete"]] = (
        "prepare"
    )
    """What to do."""
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="CORPUS|KEY")] = None
    """The corpus to prepare (as --data), or the key of a folder in the cache."""
    verify: bool = False
    """With prepare: read every byte of tokens that are there already."""


def data_command(arguments: DataArguments) -> int:
    """Run `adana data`; return the exit code."""
    return _ACTIONS[arguments.action](arguments, Console())


def _prepare(arguments: DataArguments, console: Console) -> int:
    if arguments.name:
        arguments = dataclasses.replace(arguments, data=arguments.name)
    shards = prepare_with_bar(arguments.data_config(), console, verify=arguments.verify)
    _describe(shards.manifest, console)
    return 0


def _list(arguments: DataArguments, console: Console) -> int:
    there = entries(cache_folder())
    for entry in there:
        say(console, f"{entry.key}  {_size(entry.bytes):>8}  {_summary(entry)}")
    total = _size(sum(entry.bytes for entry in there))
    say(console, f"{len(there)} in {cache_folder()}, {total} together")
    if any(entry.manifest for entry in there):
        say(console, "train on tokens as they are, without their text: adana train --data KEY")
    return 0


def _describe_entry(arguments: DataArguments, console: Console) -> int:
    entry = find(cache_folder(), arguments.name or "")[0]
    if entry.manifest is None:
        raise ShardError(f"{entry.folder}: {entry.state}")
    _describe(entry.manifest, console)
    return 0


def _verify(arguments: DataArguments, console: Console) -> int:
    """Check one folder, or all complete ones; a bad one does not hide the others."""
    cache = cache_folder()
    chosen = find(cache, arguments.name) if arguments.name else entries(cache)
    bad = 0
    for entry in chosen:
        if entry.folder.name != entry.key:
            say(console, f"{entry.key}: {entry.state}")
            continue
        try:
            open_with_bar(entry.folder, console)
            say(console, f"{entry.key}: every byte is right, {_size(entry.bytes)}")
        except ShardError as error:
            bad += 1
            say(console, f"{entry.key}: {error}")
    if not chosen:
        say(console, f"nothing is in {cache}")
    return 1 if bad else 0


def _delete(arguments: DataArguments, console: Console) -> int:
    for entry in delete(cache_folder(), arguments.name or ""):
        say(console, f"deleted {entry.key}, {_size(entry.bytes)}")
    return 0


_ACTIONS: dict[str, Callable[[DataArguments, Console], int]] = {
    "prepare": _prepare,
    "list": _list,
    "describe": _describe_entry,
    "verify": _verify,
    "delete": _delete,
}


def _describe(manifest: dict[str, Any], console: Console) -> None:
    rows = [
        (
            split,
            f"{counts['tokens']:,} tokens, {counts['documents']:,} documents, "
            f"{counts['bytes']:,} bytes, {counts['bytes'] / counts['tokens']:.3f} bytes a token",
        )
        for split, counts in manifest["splits"].items()
    ]
    rows += [
        ("corpus", f"{manifest['corpus']['source']}, {manifest['corpus']['fingerprint'][:16]}"),
        (
            "tokenizer",
            f"{manifest['tokenizer']}, {manifest['vocab_size']:,} tokens, "
            f"{manifest['tokenizer_fingerprint'][:16]}",
        ),
        ("split", manifest["split"]["rule"]),
    ]
    notes = [*manifest["corpus"]["notes"], *manifest["split"]["notes"]]
    print_rows(console, [*rows, *(("note", note) for note in notes)])


def _summary(entry: Entry) -> str:
    if entry.manifest is None:
        return entry.state
    tokens = entry.manifest["splits"]["train"]["tokens"]
    held_out = entry.manifest["splits"]["validation"]["tokens"]
    return (
        f"{entry.manifest['corpus']['source']}: {tokens:,} + {held_out:,} tokens, tokenizer "
        f"{entry.manifest['tokenizer']} of {entry.manifest['vocab_size']:,}"
    )


def _size(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
