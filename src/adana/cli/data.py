"""`adana data`: prepare a corpus and say what it holds."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from adana.cli.prepare import prepare_with_bar
from adana.cli.settings import print_rows
from adana.data import DataConfig


@dataclass(frozen=True)
class DataArguments:
    """Tokenize a corpus into the cache, so that trainings start at once, and describe it."""

    data: str = DataConfig.corpus
    """`python`, or your own .txt, .md, .py or .jsonl file, or a folder of them."""
    vocab_size: int = DataConfig.vocab_size
    """Tokens of the byte-level BPE, at least 257."""


def data_command(arguments: DataArguments) -> int:
    """Run `adana data`; return the exit code."""
    console = Console()
    config = DataConfig(corpus=arguments.data, vocab_size=arguments.vocab_size)
    shards = prepare_with_bar(config, console)
    manifest = shards.manifest
    rows = [
        (
            split,
            f"{counts['tokens']:,} tokens, {counts['documents']:,} documents, "
            f"{counts['bytes']:,} bytes, {shards.bytes_per_token(split):.3f} bytes a token",
        )
        for split, counts in manifest["splits"].items()
    ]
    notes = [*manifest["corpus"]["notes"], *manifest["split"]["notes"]]
    print_rows(console, [*rows, *(("note", note) for note in notes)])
    return 0
