"""Corpora, tokenizer, shards and the deterministic stream of batches.

`prepare` does it all once and keeps the result; `BatchStream` and `validation_windows` read it.
"""

from adana.data.corpus import Corpus, read_corpus
from adana.data.errors import CorpusError, ShardError
from adana.data.kept import run_tokenizer, save_tokenizer
from adana.data.prepare import DataConfig, cache_folder, prepare
from adana.data.shards import Shards, open_shards
from adana.data.stream import BatchStream, validation_windows
from adana.data.tokenizer import Tokenizer

__all__ = [
    "BatchStream",
    "Corpus",
    "CorpusError",
    "DataConfig",
    "ShardError",
    "Shards",
    "Tokenizer",
    "cache_folder",
    "open_shards",
    "prepare",
    "read_corpus",
    "run_tokenizer",
    "save_tokenizer",
    "validation_windows",
]
