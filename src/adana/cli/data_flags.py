"""The flags that say which text and which tokens: the same for every verb that needs data."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from rich.console import Console

from adana.cli.terminal import say
from adana.data import DataConfig, best_available, model_vocab_size

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
    say(Console(stderr=True), f"data: --tokenizer {AUTO} is {words}")
    return name


@dataclass(frozen=True)
class DataFlags:
    """Which text, and how it is cut into tokens."""

    data: str = DataConfig.corpus
    """`python` (the standard library's sources, on every machine), `python-packages` (those and all
    installed packages), your own .txt, .md, .py, .jsonl or .parquet file or a folder of them, or a
    data set of the Hugging Face hub: fineweb-10bt, fineweb-100bt, hub:OWNER/NAME[/CONFIG]."""
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

    def __post_init__(self) -> None:
        if self.tokenizer == AUTO:  # from here on it has its name, in the records of runs too
            object.__setattr__(self, "tokenizer", _found_tokenizer())

    def data_config(self, corpus: str | None = None) -> DataConfig:
        """Return what to prepare; `corpus` in place of --data if given."""
        own = self.vocab_size if self.tokenizer == DataConfig.tokenizer else None
        return DataConfig(
            corpus=corpus or self.data,
            vocab_size=DataConfig.vocab_size if own is None else own,
            validation_fraction=self.validation_fraction,
            validation_tokens=self.validation_tokens,
            tokenizer=self.tokenizer,
            text_field=self.text_field,
            hub_split=self.hub_split,
            limit_documents=self.limit_documents,
            limit_tokens=self.limit_tokens,
        )

    def model_vocab_size(self) -> int:
        """Return the model's vocabulary: what was asked for, or what the tokenizer needs."""
        own = self.vocab_size
        return model_vocab_size(self.data_config()) if own is None else own
