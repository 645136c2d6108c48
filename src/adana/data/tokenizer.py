"""A byte-level BPE tokenizer: any text goes in, exactly the same text comes out.

Training and encoding are done by the `tokenizers` library; this wrapper pins the choices that make
the result lossless and deterministic, and answers the two questions a language model asks: which
token ends a document, and how many bytes of text each token stands for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from adana.data.errors import CorpusError

END_OF_TEXT = "<|endoftext|>"
"""Name of the token that ends every document; as text inside a document it is ordinary text."""

SMALLEST_VOCABULARY = 257
"""One token for each of the 256 bytes, and the end of text."""


class Tokenizer:
    """A trained tokenizer. Built by `train_tokenizer` or from JSON by `from_json`."""

    def __init__(self, text: str) -> None:
        try:
            inner = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception for everything
            raise ValueError(
                f"not the JSON of a tokenizer: {error}. Expected what Tokenizer.to_json() returns."
            ) from error
        end_of_text = inner.token_to_id(END_OF_TEXT)
        if end_of_text is None:
            raise ValueError(
                f"the tokenizer has no {END_OF_TEXT} token, which ends every document. "
                "Use a tokenizer made by train_tokenizer()."
            )
        inner.encode_special_tokens = True
        self._inner = inner
        self._json = text
        self.end_of_text: int = end_of_text

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the end of text included; ids run from 0 to one less."""
        return int(self._inner.get_vocab_size())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the JSON, in hexadecimal."""
        return hashlib.sha256(self._json.encode()).hexdigest()

    def encode_documents(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return one uint32 array of token ids for each text, without end-of-text.

        The texts are encoded in parallel; hand over many at a time. None of the ids is
        `end_of_text`, whatever the texts say.
        """
        encodings = self._inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; the end of text shows as its name.

        Ids that stop inside a character give U+FFFD in its place.
        """
        return str(self._inner.decode([int(i) for i in ids], skip_special_tokens=False))

    def token_bytes(self) -> np.ndarray:
        """Return how many bytes of text each token stands for: int64 ``(vocab_size,)``.

        The end of text stands for 0 bytes, so that ``token_bytes()[ids].sum()`` is the length of
        the text. Loss per token becomes bits per byte with it.
        """
        lengths = [len(self._inner.id_to_token(i) or "") for i in range(self.vocab_size)]
        lengths[self.end_of_text] = 0
        return np.array(lengths, dtype=np.int64)

    def to_json(self) -> str:
        """Return the tokenizer in the JSON format of the `tokenizers` library."""
        return self._json

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Make a tokenizer from `to_json`'s text; `ValueError` if it is none of ours."""
        return cls(text)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train byte-level BPE with exactly `vocab_size` tokens, the end of text included.

    The same texts give the same tokenizer, in any order. Raises `ValueError` for a vocabulary
    below `SMALLEST_VOCABULARY`, `CorpusError` if the texts do not yield that many tokens.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"vocab_size is {vocab_size}, expected at least {SMALLEST_VOCABULARY}: the 256 bytes, "
            "so that every text can be written, and the end of text."
        )
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    made = inner.get_vocab_size()
    if made < vocab_size:
        raise CorpusError(
            f"the corpus is too small for a vocabulary of {vocab_size}: it yields {made} tokens. "
            f"Pass --vocab-size {made} or smaller, or give more text."
        )
    return Tokenizer(inner.to_str())
