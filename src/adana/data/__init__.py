"""Corpora, tokenizer, shards and the deterministic stream of batches.

`prepare` does it all once and keeps the result; `BatchStream` and `validation_windows` read it,
`Prefetcher` reads ahead.
"""

from adana.data.cache import Entry, delete, entries, find
from adana.data.config import DataConfig
from adana.data.errors import CorpusError, ShardError, Unavailable, Unreachable
from adana.data.kept import run_tokenizer, save_tokenizer
from adana.data.prefetch import Prefetcher
from adana.data.prepare import prepare
from adana.data.prepared import (
    check_vocabulary_holds,
    key_of_tokens,
    model_vocab_size,
    prepared_config,
)
from adana.data.shards import Shards, open_shards
from adana.data.sources import Corpus, local_path, read_corpus
from adana.data.stream import BatchStream, validation_documents, validation_windows
from adana.data.tokenizer import Tokenizer, best_available, padded
from adana.data.tokens import Tokens
from adana.places import cache_folder

__all__ = [
    "BatchStream",
    "Corpus",
    "CorpusError",
    "DataConfig",
    "Entry",
    "Prefetcher",
    "ShardError",
    "Shards",
    "Tokenizer",
    "Tokens",
    "Unavailable",
    "Unreachable",
    "best_available",
    "cache_folder",
    "check_vocabulary_holds",
    "delete",
    "entries",
    "find",
    "key_of_tokens",
    "local_path",
    "model_vocab_size",
    "open_shards",
    "padded",
    "prepare",
    "prepared_config",
    "read_corpus",
    "run_tokenizer",
    "save_tokenizer",
    "validation_documents",
    "validation_windows",
]
