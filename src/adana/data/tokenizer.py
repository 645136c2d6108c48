"""A byte-level BPE tokenizer: any text goes in, exactly the same text comes out.

Training and encoding are done by the `tokenizers` library; this wrapper pins the choices that make
the result lossless and deterministic, and answers the two questions a language model asks: which
token ends a document, and how many bytes of text each token stands for. A tokenizer is trained on
the corpus, is GPT-2's, or comes from a file; all three are then the same to everybody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from adana.data.config import TRAINED
from adana.data.errors import CorpusError, Unreachable
from adana.data.extras import need

END_OF_TEXT = "<|endoftext|>"
"""Name of the token that ends every document; as text inside a document it is ordinary text."""

ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>")
"""Names of that token in ready-made tokenizers; the first one found is it."""

SMALLEST_VOCABULARY = 257
"""One token for each of the 256 bytes, and the end of text."""

PAD_TO = 64
"""The model's vocabulary is a ready-made tokenizer's rounded up to a multiple of this: matrix
products of such sizes are fast, and GPT-2's 50257 become the published 50304 (spec/training.md
section 1)."""

GPT2 = "gpt2"
"""Name of GPT-2's byte-level BPE."""

GPT2_TOKENS = 50257
"""How many it has: known without the tokenizer, so that a machine with prepared tokens and no
network can make the model for them."""

_GPT2_REPOSITORY = "openai-community/gpt2"
_TIMEOUT = 10.0
_PROBE = "  Grüße,\r\n\tx = 'q';\u2028 東京 \U0001f600 e\u0301\x00\ufb01 42   "
"""Text that a tokenizer with a normalizer, a prefix space or unknown tokens does not give back."""


class Tokenizer:
    """A trained tokenizer. Built by `train_tokenizer` or from JSON by `from_json`."""

    def __init__(self, text: str) -> None:
        try:
            inner = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception for everything
            raise ValueError(
                f"not the JSON of a tokenizer: {error}. Expected what Tokenizer.to_json() returns."
            ) from error
        ids = (inner.token_to_id(name) for name in ENDS)
        ends = [found for found in ids if found is not None]
        if not ends:
            raise ValueError(
                f"the tokenizer has no {END_OF_TEXT} token, which ends every document "
                f"(nor any of {', '.join(ENDS[1:])}). Use one made by train_tokenizer(), or gpt2."
            )
        inner.no_padding()
        inner.no_truncation()
        inner.encode_special_tokens = True
        self._inner = inner
        self._json = text
        self._size = 1 + max(inner.get_vocab().values())
        self.end_of_text: int = ends[0]
        self._check_texts()

    def _check_texts(self) -> None:
        """Raise `ValueError` unless a text, and each of its characters, comes back as it was."""
        texts = [_PROBE, *_PROBE]
        ids = self.encode_documents(texts)
        if [self.decode(each) for each in ids] != texts:
            raise ValueError(
                "the tokenizer does not give back the text it was given (a normalizer, a prefix "
                "space or unknown tokens?). Use a byte-level BPE without these, such as GPT-2's."
            )
        lengths = self.token_bytes()
        if [lengths[each].sum() for each in ids] != [len(text.encode()) for text in texts]:
            raise ValueError(
                "the bytes of the tokens are not those of the text (a byte fallback, as in "
                "Llama 2, or a prefix space?), so that bits per byte would be wrong. Use a "
                "byte-level BPE, such as GPT-2's."
            )

    @property
    def vocab_size(self) -> int:
        """One more than the largest id: how many tokens there are, unless ids were left out."""
        return self._size

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

    def token_bytes(self, size: int | None = None) -> np.ndarray:
        """Return how many bytes of text each token stands for: int64 ``(size,)``.

        `size` defaults to `vocab_size`; the ids beyond it, padding of the model's vocabulary, stand
        for 0 bytes, and so do the end of text and other special tokens. So
        ``token_bytes()[ids].sum()`` is the length of the text, and loss per token becomes bits per
        byte. Raises `ValueError` for a size below `vocab_size`.
        """
        size = self.vocab_size if size is None else size
        if size < self.vocab_size:
            raise ValueError(
                f"a vocabulary of {size} has no room for the {self.vocab_size} tokens of the "
                f"tokenizer: give the model at least {padded(self.vocab_size)}."
            )
        lengths = np.zeros(size, dtype=np.int64)
        for i in range(self.vocab_size):
            lengths[i] = len(self._inner.id_to_token(i) or "")  # one character a byte
        for i, token in self._inner.get_added_tokens_decoder().items():
            lengths[i] = 0 if token.special else len(token.content.encode())
        lengths[self.end_of_text] = 0
        return lengths

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
    check_vocabulary(vocab_size)
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
    if made == SMALLEST_VOCABULARY < vocab_size:
        raise CorpusError(
            f"the corpus is too small for a vocabulary of {vocab_size}, and for any: it yields no "
            "token beside the 256 bytes and the end of text. Give more text."
        )
    if made < vocab_size:
        raise CorpusError(
            f"the corpus is too small for a vocabulary of {vocab_size}: it yields {made} tokens. "
            f"Pass --vocab-size {made} or smaller, or give more text."
        )
    return Tokenizer(inner.to_str())


def check_vocabulary(vocab_size: int) -> None:
    """Raise `ValueError` for a vocabulary below `SMALLEST_VOCABULARY`."""
    if vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"vocab_size is {vocab_size}, expected at least {SMALLEST_VOCABULARY}: the 256 bytes, "
            "so that every text can be written, and the end of text."
        )


def padded(vocab_size: int, multiple: int = PAD_TO) -> int:
    """Return `vocab_size` rounded up to a `multiple`: 50257 gives 50304."""
    return -(-vocab_size // multiple) * multiple


def best_available() -> tuple[str, str]:
    """Return `GPT2` if its tokenizer can be had, else `TRAINED`, and in words what was found."""
    try:
        ready_made(GPT2)
    except CorpusError as error:
        return TRAINED, f"one trained on the corpus, because {str(error).partition('. ')[0]}"
    return GPT2, "GPT-2's"


def ready_made(name: str) -> Tokenizer | None:
    """Return the tokenizer `name`: ``"gpt2"`` or a file; `None` for the one to be trained.

    GPT-2's is taken from the hub's cache on this machine, or fetched. Raises `Unreachable` if it is
    not there and cannot be fetched, `CorpusError` for a file that is no usable tokenizer.
    """
    if name == TRAINED:
        return None
    path = _fetch_gpt2() if name == GPT2 else Path(name).expanduser()
    try:
        return Tokenizer.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(
            f"the tokenizer {name!r} cannot be read: {error.strerror or error}. Give "
            f"{TRAINED!r}, {GPT2!r}, or the path of a tokenizer.json."
        ) from error
    except ValueError as error:
        raise CorpusError(f"{path} is no tokenizer to train with: {error}") from error


def _fetch_gpt2() -> Path:
    """Return the file of GPT-2's tokenizer, from the hub's cache or from the hub."""
    hub = need("huggingface_hub", "GPT-2's tokenizer")
    for repository in (_GPT2_REPOSITORY, GPT2):
        if isinstance(found := hub.try_to_load_from_cache(repository, "tokenizer.json"), str):
            return Path(found)
    try:
        # Asking first fails at once where nobody answers; a download would try for half a minute.
        revision = hub.HfApi().model_info(_GPT2_REPOSITORY, timeout=_TIMEOUT).sha
        return Path(hub.hf_hub_download(_GPT2_REPOSITORY, "tokenizer.json", revision=revision))
    except Exception as error:  # the library lets those of its HTTP client through
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise Unreachable(
            f"GPT-2's tokenizer is not on this machine and cannot be fetched ({why}). Use "
            f"--tokenizer {TRAINED} (made from the corpus itself), or fetch "
            f"https://huggingface.co/{_GPT2_REPOSITORY}/resolve/main/tokenizer.json elsewhere and "
            "give its path as --tokenizer."
        ) from error
