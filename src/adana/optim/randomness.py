"""Random bits that are a function of where and when they are used, and of nothing else.

Stochastic rounding needs fresh bits for every element at every step. A generator would have a state
to save, and its bits would depend on how elements are spread over devices. Here the bits are hashed
from (seed, step, parameter, index of the element in the whole parameter): runs are bit-identical on
any number of ranks and after any resume, and only the seed is kept (spec/peers_optimizers.md, R4).

Written with the operations of `adana.optim.codecs`, so that kernels can be generated from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

X = Any
"""Elements, all int32 here: a tensor, or a symbol that records what is done to it."""
Key = tuple[Any, Any]
"""Two 32-bit numbers, as signed ints or 0-d int32 tensors."""
Keys = tuple[Key, ...]
"""Of one parameter: a key for each 2^32 of its elements, so nearly always one."""

GOLDEN = 0x9E3779B9
"""2^32 over the golden ratio: what successive words of an element differ by before mixing."""
FIRST, SECOND = 0x21F0AAAD, 0xD35A2D97
"""Multipliers of the mixer with the least bias that github.com/skeeto/hash-prospector found."""


def key(seed: int, step: int, parameter: int, high: int = 0) -> Key:
    """Return the key of a parameter at a step, for elements whose index has the bits `high`.

    `parameter` is any number that is the parameter's own; `high` is `index >> 32`.

    >>> key(seed=0, step=1, parameter=0)
    (-550237500, 586128780)
    """
    return at_step(stream(seed, parameter, high), step)


def stream(seed: int, parameter: int, high: int = 0) -> Key:
    """Return what of a parameter's key does not depend on the step, to be computed once."""
    mixed = 0
    for number in (seed, parameter, high):
        mixed = _mixed_64(mixed ^ int(number))  # numpy's integers would overflow
    return signed(mixed), signed(mixed >> 32)


def at_step(stream: Key, step: Any) -> Key:
    """Return the key of a stream at a step: an int, or an int32 tensor on any device."""
    if isinstance(step, int):
        first = _mixed_int(stream[0] ^ step)
        return first, _mixed_int(stream[1] + first)
    first = mixed(step ^ stream[0])
    return first, mixed(first + stream[1])


def words(index: X, key: Key) -> Callable[[int], X]:
    """Return the function that gives the k-th word of 32 random bits of every element.

    `index` holds the low 32 bits of the elements' indices in the whole, unsharded parameter.
    """
    place = mixed(index ^ key[0]) + key[1]
    return lambda k: mixed(place + signed(k * GOLDEN) if k else place)


def mixed(x: X) -> X:
    """Return a permutation of the 32-bit words in which every bit depends on every bit of x."""
    x = (x ^ (x >> 16 & 0xFFFF)) * signed(FIRST)
    x = (x ^ (x >> 15 & 0x1FFFF)) * signed(SECOND)
    return x ^ (x >> 15 & 0x1FFFF)


def signed(x: int) -> int:
    """Return the signed number of the low 32 bits of x, which is what an int32 holds."""
    x &= 0xFFFFFFFF
    return x - (1 << 32) if x >> 31 else x


def _mixed_int(x: int) -> int:
    """Return the same as `mixed` for an int."""
    x &= 0xFFFFFFFF
    x = (x ^ x >> 16) * FIRST & 0xFFFFFFFF
    x = (x ^ x >> 15) * SECOND & 0xFFFFFFFF
    return signed(x ^ x >> 15)


def _mixed_64(x: int) -> int:
    """Return 64 bits that each depend on every bit of x (SplitMix64: Steele, Lea, Flood 2014)."""
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
    return x ^ x >> 31
