"""The flags that say which text and which tokens: the same for every verb that needs data."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from adana.cli.terminal import say, unbreakable
from adana.data import (
    DataConfig,
    best_available,
    check_vocabulary_holds,
    model_vocab_size,
    prepared_config,
)

AUTO = "auto"
"""A tokenizer to be chosen by what can be had."""


@functools.cache
def _found_tokenizer() -> str:
    """Return what `auto` stands for here, and say it once."""
    from adana.train import ranks_expected  # noqa: PLC0415 (with torch, which takes seconds)

    if ranks_expected() > 1:
        raise ValueError(
            f"--tokenizer {AUTO} may turn out differently on each machine: with several ranks say "
            "gpt2 or trained"
        )
    name, words = best_available()
    say(unbreakable(Console(stderr=True)), f"data: --tokenizer {AUTO} is {words}")
    return name


@dataclass(frozen=True)
class DataFlags:
    """Which text, and how it is cut into tokens."""

    data: str = DataConfig.corpus
    """`python` (the standard library's sources, on every machine), `python-packages` (those and all
    installed packages), your own .txt, .md, .py, .jsonl or .parquet file or a folder of them, a
    data set of the Hugging Face hub: fineweb-10bt, fineweb-100bt, hub:OWNER/NAME[/CONFIG], or the
    KEY of prepared tokens (`adana data list`; 8 digits of it will do), which are used as they are,
    without their text."""
    tokenizer: str = DataConfig.tokenizer
    """`trained` on the corpus, `gpt2`, the path of a byte-level tokenizer.json, or `auto`: gpt2 if
    it can be had, else trained. The runs' records name the one that was used."""
    vocab_size: int | None = None
    """Tokens of the byte-level BPE trained on the corpus, at least 257; default 1024. With another
    tokenizer, the model's vocabulary; default its tokens rounded up to a multiple of 64."""
    validation_fraction: float = DataConfig.validation_fraction
    """Share of the text held out, by content hash."""
    validation_tokens: int = DataConfig.validation_tokens
    """About how many tokens are held out at most: the share of a large corpus is lowered."""
    text_field: str = DataConfig.text_field
    """Field of .jsonl lines, and column of .parquet and hub data sets, with the text."""
    hub_split: str = DataConfig.hub_split
    """Which split of a hub data set is read."""
    limit_documents: int | None = None
    """Use the first so many distinct documents. Default: all."""
    limit_tokens: int | None = None
    """Stop when there are so many training tokens. Default: all."""
    bad_rows: Literal["refuse", "skip"] = DataConfig.bad_rows
    """What to do with rows and files that are no text: refuse names the first, skip leaves them out
    and counts them (up to 1 % of all)."""

    def __post_init__(self) -> None:
        prepared = prepared_config(self.data)
        if prepared is not None:
            self._take_over(prepared)
        elif self.tokenizer == AUTO:  # from here on it has its name, in the records of runs too
            object.__setattr__(self, "tokenizer", _found_tokenizer())

    def _take_over(self, prepared: DataConfig) -> None:
        """Say of prepared tokens how they were made; `ValueError` for a flag that says otherwise.

        From here on --data is the whole key.
        """
        trained = prepared.tokenizer == DataConfig.tokenizer
        for name in OF_TOKENS if trained else (n for n in OF_TOKENS if n != "vocab_size"):
            given, made = getattr(self, name), getattr(prepared, name)
            open_to_any = given == getattr(DataFlags, name) or (name, given) == ("tokenizer", AUTO)
            if not open_to_any and given != made:
                raise ValueError(
                    f"--{name.replace('_', '-')} {given} does not go with --data {self.data}: its "
                    f"tokens were made with {made}. Leave the flag out, or give the corpus by its "
                    f"own name ({prepared.corpus}) to prepare it anew"
                )
            object.__setattr__(self, name, made)
        object.__setattr__(self, "data", prepared.prepared)

    def data_config(self) -> DataConfig:
        """Return what to prepare, or which prepared tokens to use.

        Raises `ValueError` if --vocab-size is less than a ready-made tokenizer has.
        """
        config = prepared_config(self.data) or self._settings()
        if self.vocab_size is not None and config.tokenizer != DataConfig.tokenizer:
            check_vocabulary_holds(self.vocab_size, config)
        return config

    def _settings(self) -> DataConfig:
        own = self.vocab_size if self.tokenizer == DataConfig.tokenizer else None
        return DataConfig(
            corpus=self.data,
            vocab_size=DataConfig.vocab_size if own is None else own,
            validation_fraction=self.validation_fraction,
            validation_tokens=self.validation_tokens,
            tokenizer=self.tokenizer,
            text_field=self.text_field,
            hub_split=self.hub_split,
            limit_documents=self.limit_documents,
            limit_tokens=self.limit_tokens,
            bad_rows=self.bad_rows,
        )

    def model_vocab_size(self) -> int:
        """Return the model's vocabulary: what was asked for, or what the tokenizer needs."""
        config = self.data_config()
        return model_vocab_size(config) if self.vocab_size is None else self.vocab_size


OF_TOKENS = (
    *("tokenizer", "vocab_size", "validation_fraction", "validation_tokens", "text_field"),
    *("hub_split", "limit_documents", "limit_tokens", "bad_rows"),
)
"""Flags that decide which tokens there are; named as in `DataConfig`."""
