"""The order in which a training sees its tokens, as a function: state is one integer.

Which sequence has global index `i` depends on the seed, the epoch and `i` alone. So a run resumes
by remembering how many sequences it has seen, and any number of ranks or micro-batches, each
asking for its own range of indices, sees together the same global batches.

An epoch cuts the tokens into windows from a starting point of its own, and visits every window
exactly once, in an order given by a small Feistel network: a permutation that is computed, not
stored, whatever the size of the corpus.
"""

from __future__ import annotations

import numpy as np

from adana.data.errors import CorpusError
from adana.data.tokens import Tokens, gather

_WORD = (1 << 64) - 1
_ROUNDS = 6
_SCAN = 1 << 22
"""Tokens that are looked at at a time for the ends of documents."""


class BatchStream:
    """Sequences of ``sequence_length + 1`` tokens in an endless, deterministic order."""

    def __init__(self, tokens: np.ndarray | Tokens, sequence_length: int, seed: int) -> None:
        """Take the tokens ``(n,)`` of any integer type; they are read when asked for, not copied.

        Raises `ValueError` for a sequence length below 1, and `CorpusError` if there are fewer
        than ``sequence_length + 1`` tokens.
        """
        _check_fits(len(tokens), sequence_length)
        self.tokens = tokens
        self.sequence_length = sequence_length
        self.seed = seed
        self.windows_per_epoch: int = max(1, len(tokens) // sequence_length - 1)
        """Sequences in an epoch: as many as fit from the last of the possible starting points."""

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens a training learns to predict in one epoch."""
        return self.windows_per_epoch * self.sequence_length

    def batch(self, first: int, count: int) -> np.ndarray:
        """Return the sequences with global indices `first` to ``first + count - 1``.

        The result is int64 ``(count, sequence_length + 1)``: inputs are ``[:, :-1]``, targets
        ``[:, 1:]``. The indices may cross any number of epochs.
        """
        if first < 0 or count < 0:
            raise ValueError(f"first is {first} and count is {count}, expected 0 or more of both.")
        starts = np.empty(count, dtype=np.int64)
        index = first
        while index < first + count:
            epoch, position = divmod(index, self.windows_per_epoch)
            here = min(first + count - index, self.windows_per_epoch - position)
            positions = np.arange(position, position + here, dtype=np.uint64)
            starts[index - first : index - first + here] = self._starts(epoch, positions)
            index += here
        return gather(self.tokens, starts, self.sequence_length + 1)

    def _starts(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Return where in the tokens the sequences at these positions of an epoch begin."""
        key = _mix(_mix(self.seed & _WORD) + epoch)
        room = len(self.tokens) - self.windows_per_epoch * self.sequence_length
        offset = _mix(key) % min(self.sequence_length, room)
        windows = permute(positions, self.windows_per_epoch, key)
        return offset + windows.astype(np.int64) * self.sequence_length


def validation_windows(
    tokens: np.ndarray | Tokens, sequence_length: int, max_tokens: int
) -> np.ndarray:
    """Return windows spread evenly over the tokens, in order: int64 ``(n, sequence_length + 1)``.

    The tokens are cut into windows that overlap by the one token that is a window's last target
    and the next one's first input. If they predict more than `max_tokens`, every so many are
    taken, so that no part of the validation text counts more than another. Nothing is drawn: every
    evaluation of every run sees the same ones. Raises `CorpusError` if not even one fits.
    """
    starts = _validation_starts(len(tokens), sequence_length, max_tokens)
    return gather(tokens, starts, sequence_length + 1)


def validation_documents(
    tokens: np.ndarray | Tokens, sequence_length: int, max_tokens: int, end_of_text: int
) -> np.ndarray:
    """Return which document each of the `validation_windows` begins in: int64 ``(n,)``.

    Windows of one document are alike, so the error of a mean over them is that of so many
    documents. Each document ends with the token `end_of_text`.
    """
    starts = _validation_starts(len(tokens), sequence_length, max_tokens)
    ends = [
        first + np.flatnonzero(np.asarray(tokens[first : first + _SCAN]) == end_of_text)
        for first in range(0, len(tokens), _SCAN)
    ]
    return np.searchsorted(np.concatenate(ends), starts)


def _validation_starts(length: int, sequence_length: int, max_tokens: int) -> np.ndarray:
    """Return where the validation windows begin in so many tokens."""
    _check_fits(length, sequence_length)
    if max_tokens < sequence_length:
        raise CorpusError(
            f"an evaluation of {max_tokens} tokens is less than one window of {sequence_length}. "
            "Allow more validation tokens (--eval-tokens), or shorten the sequences."
        )
    there = (length - 1) // sequence_length
    count = min(there, max_tokens // sequence_length)
    windows = np.arange(count, dtype=np.int64) * there // count
    return windows * sequence_length


def permute(positions: np.ndarray, size: int, key: int) -> np.ndarray:
    """Map positions below `size` (uint64) to other positions below `size`, one to one.

    A Feistel network permutes the numbers of the next even count of bits; a result of `size` or
    more goes through it again until it falls below (it must: the walk is on a cycle that began
    there). The domain is less than four times `size`, so few rounds are needed.
    """
    half = max(1, -(-(size - 1).bit_length() // 2))
    keys = [_mix(key + number) for number in range(1, _ROUNDS + 1)]
    result = _feistel(positions, half, keys)
    while (outside := result >= size).any():
        result[outside] = _feistel(result[outside], half, keys)
    return result


def _feistel(values: np.ndarray, half: int, keys: list[int]) -> np.ndarray:
    """Permute the numbers below ``4 ** half``: each round hashes one half into the other."""
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mix_array(right + np.uint64(key)) & mask)
    return (left << bits) | right


def _mix(value: int) -> int:
    """Return the splitmix64 output for a 64-bit state: a well-mixed hash of the number."""
    return int(_mix_array(np.array([value & _WORD], dtype=np.uint64))[0])


def _mix_array(values: np.ndarray) -> np.ndarray:
    """Apply splitmix64 (Steele, Lea and Flood 2014) to each uint64; sums and products wrap."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _check_fits(tokens: int, sequence_length: int) -> None:
    if sequence_length < 1:
        raise ValueError(f"sequence_length is {sequence_length}, expected at least 1.")
    if tokens < sequence_length + 1:
        raise CorpusError(
            f"there are {tokens} tokens, fewer than the {sequence_length + 1} of one window "
            f"(sequence length {sequence_length} and one target). Give more text, "
            "or shorten the sequences."
        )
