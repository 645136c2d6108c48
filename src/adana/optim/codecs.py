"""Optimizer states and weights in fewer bytes: what each code means, and nothing about storage.

Averages in log-time give the newest gradient the weight delta / (delta + t). In few bits and with
rounding to nearest it is lost once it is less than half a unit in the last place, and then the
average is wrong, not noisy (spec/peers_optimizers.md section 5; docs/low-precision.md). So every
code here rounds at random, up or down, such that the mean is exact.

Everything is a pure function of elements, in operations that `torch.Tensor` has and that
`adana.optim.kernel` can record: called with tensors it computes, called with symbols it is the
source of a kernel. Floats are float32, codes are int32 that whoever stores them cuts to the dtype
in `parts`. What is not finite stays so: infinities and NaNs never come back as ordinary numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

X = Any
"""Elements, float32 or int32: a tensor, or a symbol that records what is done to it."""
Random = Callable[[int], X]
"""Gives the k-th word of 32 random bits of each element at this step, as int32."""

WEIGHT_WORD = 2
"""Word that rounds weights; those before it round states."""
SLOTS = {"m": 0, "v": 1, "tau": 2, "fast": 3}
"""Which bits of the random words each state has, so that no two states share any."""


class Codec(Protocol):
    """A way to keep the state of an optimizer."""

    name: str

    def parts(self, name: str) -> dict[str, torch.dtype]:
        """Return what is stored for the state `name` ("m", "v", "tau", "fast"), and as what.

        Raises:
            ValueError: this code has none for that state.
        """

    def decode(self, codes: dict[str, X]) -> dict[str, X]:
        """Return the states of the codes, which are sign-extended from their dtype to int32."""

    def encode(self, states: dict[str, X], random: Random) -> dict[str, X]:
        """Return the codes of the states, to be cut to their dtype."""


class Weights(Protocol):
    """A way to keep bfloat16 weights exact enough for steps far below their last place."""

    name: str

    def parts(self) -> dict[str, torch.dtype]:
        """Return what is stored besides the parameter, and as what."""

    def decode(self, codes: dict[str, X]) -> X:
        """Return the weights from "p", the bits of the parameter, and the parts."""

    def encode(self, p: X, random: Random) -> dict[str, X]:
        """Return the bits of the parameter, "p", and the parts."""


# --- bits of floats -------------------------------------------------------------------------------

INFINITY = 0x7F800000
QUIET = 0x400000
"""The bit of a NaN that survives being cut to 16 bits."""
LARGEST = 3.4028234663852886e38
"""The largest finite float32."""


def bits(x: X) -> X:
    """Return the bits of floats, NaNs with the bit set that makes them survive being cut."""
    found = x.view(torch.int32)
    return found.where(_number(found), found | QUIET)


def _number(bits: X) -> X:
    """Return whether bits are those of a number or an infinity."""
    return (bits & 0x7FFFFFFF) <= INFINITY


def stochastic(bits: X, word: X, low: int) -> X:
    """Return the upper `32 - low` bits of floats, rounded up in size at random: the mean is exact.

    A carry moves to the next float, of the next exponent too. The largest finite value of the upper
    bits, infinities and NaNs are cut instead, so that each remains what it is.

    Args:
        bits: as `bits` returns them.
        word: random bits, of which the lowest `low` count.
        low: how many bits to drop.
    """
    mask = (1 << low) - 1
    last = INFINITY - (1 << low)
    rounded = bits + (word & mask)
    return rounded.where((bits & 0x7FFFFFFF) <= last, bits) >> low


class Float32:
    """All bits: the states as they are."""

    name = "fp32"

    def parts(self, name: str) -> dict[str, torch.dtype]:
        """Return the state itself."""
        return {name: torch.float32}

    def decode(self, codes: dict[str, X]) -> dict[str, X]:
        """Return the floats that have these bits."""
        return {name: code.view(torch.float32) for name, code in codes.items()}

    def encode(self, states: dict[str, X], random: Random) -> dict[str, X]:
        """Return the bits."""
        return {name: x.view(torch.int32) for name, x in states.items()}


class BFloat16:
    """The upper 16 bits of the float32, rounded at random: steps of 2^-8 to 2^-7 of the value.

    2 bytes a state.
    """

    name = "bf16_sr"

    def parts(self, name: str) -> dict[str, torch.dtype]:
        """Return the state as bfloat16."""
        return {name: torch.bfloat16}

    def decode(self, codes: dict[str, X]) -> dict[str, X]:
        """Return the floats with these upper bits."""
        return {name: (code << 16).view(torch.float32) for name, code in codes.items()}

    def encode(self, states: dict[str, X], random: Random) -> dict[str, X]:
        """Return the upper 16 bits, rounded at random."""
        codes = {}
        for name, x in states.items():
            word, half = divmod(SLOTS[name], 2)
            codes[name] = stochastic(bits(x), random(word) >> 16 * half, 16)
        return codes


class Float24:
    """The upper 24 bits of the float32, rounded at random: 16 in one tensor and 8 in another.

    Steps of 2^-16 to 2^-15 of the value, 3 bytes a state.
    """

    name = "fp24"

    def parts(self, name: str) -> dict[str, torch.dtype]:
        """Return the upper 16 and the next 8 bits."""
        return {name: torch.int16, f"{name}_low": torch.uint8}

    def decode(self, codes: dict[str, X]) -> dict[str, X]:
        """Return the floats with these upper bits."""
        return {
            name: (codes[name] << 16 | codes[f"{name}_low"] << 8).view(torch.float32)
            for name in codes
            if f"{name}_low" in codes
        }

    def encode(self, states: dict[str, X], random: Random) -> dict[str, X]:
        """Return the upper 24 bits, rounded at random, as 16 and 8."""
        codes = {}
        for name, x in states.items():
            code = stochastic(bits(x), random(0) >> 8 * SLOTS[name], 8)
            codes[name], codes[f"{name}_low"] = code >> 8, code & 0xFF
        return codes


# --- codes for averages with equal weights --------------------------------------------------------

FLOOR = 2.0**-96
"""Where the codes of v turn from proportional to logarithmic."""
FLOOR_BITS = (127 - 96) << 23
NO_NUMBER_V = 0xFFFF
"""The code of v, and of tau, for infinity and NaN."""
NO_NUMBER_M = -0x8000
"""The code of m for infinity and NaN."""
LARGEST_V = 2.0**32 - 2.0**23
"""The largest v that has a code."""
R_MAX = 1.25
"""Largest |m| / sqrt(v) that has a code. Exact averages have at most 1; a stored v is noisy."""
LARGEST_M = 0x7FFF
LARGEST_TAU = 0xFFFE


class Log16:
    """16 bits a state for m and v with equal weights, and tau; each without any scale of its own.

    v: a float without sign, with 7 bits of exponent and 9 of mantissa, for v + 2^-96; so zero has a
    code, steps are even up to 2^-96, then 2^-9 to 2^-10 of the value, and end at 2^32.
    m: as r = m / sqrt(v), which equal weights keep within [-1, 1] (Cauchy-Schwarz), with v as it is
    read back. The code is the signed root of |r|, so that steps are 2 sqrt(R_MAX |r|) / 2^15, with
    room up to R_MAX; beyond it r is cut, and where v is zero, so is m.
    tau: in [0, 1), the root of it.
    2 bytes a state. One code of each stands for what is not finite.
    """

    name = "log16"

    def parts(self, name: str) -> dict[str, torch.dtype]:
        """Return the state as 16 bits; only m, v and tau have a code."""
        if name not in ("m", "v", "tau"):
            raise ValueError(
                f'state_dtype="log16" has no code for the state {name!r}, whose range is unknown: '
                'it codes averages with equal weights, m and v, and tau. Use "fp24" or "bf16_sr".'
            )
        return {name: torch.int16}

    def decode(self, codes: dict[str, X]) -> dict[str, X]:
        """Return the states; m needs the code of v."""
        states = {"v": _decoded_v(codes["v"])}
        if "m" in codes:
            states["m"] = _decoded_m(codes["m"], states["v"])
        if "tau" in codes:
            states["tau"] = _decoded_tau(codes["tau"])
        return states

    def encode(self, states: dict[str, X], random: Random) -> dict[str, X]:
        """Return the codes; 14 bits of the first word round v, the other 18 m, and more tau."""
        first = random(0)
        codes = {"v": _encoded_v(states["v"], first)}
        if "m" in states:
            codes["m"] = _encoded_m(states["m"], _decoded_v(codes["v"]), fraction(first, 18))
        if "tau" in states:
            codes["tau"] = _encoded_tau(states["tau"], fraction(random(1), 18))
        return codes


def fraction(word: X, count: int) -> X:
    """Return numbers between 0 and 1, neither included, from the upper `count` bits of a word."""
    upper = word >> 32 - count & (1 << count) - 1
    return (upper.to(torch.float32) + 0.5) * 2.0**-count


def _encoded_v(v: X, word: X) -> X:
    size = (v.clamp(max=LARGEST_V) + FLOOR).view(torch.int32) - FLOOR_BITS
    return ((size + (word & 0x3FFF)) >> 14).where(v <= LARGEST, NO_NUMBER_V)


def _decoded_v(code: X) -> X:
    code = code & 0xFFFF
    size = ((code << 14) + FLOOR_BITS).where(code != NO_NUMBER_V, INFINITY | QUIET)
    return size.view(torch.float32) - FLOOR


def _unit_of_m(v: X) -> X:
    """Return the smallest m that has a code. The factor is exact in float32."""
    return v.sqrt() * (R_MAX * 2.0**-30)


def _encoded_m(m: X, v: X, random: X) -> X:
    unit, size = _unit_of_m(v), m.abs()
    finite = size <= LARGEST
    root = _root(size / unit, (unit > 0) & finite, LARGEST_M, random)
    sign = m.view(torch.int32) >> 31
    return ((root ^ sign) - sign).where((unit >= 0) & finite, NO_NUMBER_M)


def _decoded_m(code: X, v: X) -> X:
    root = code.to(torch.float32)
    size = root * root * _unit_of_m(v)
    m = size.where(code >= 0, -size)
    return m.view(torch.int32).where(code != NO_NUMBER_M, INFINITY | QUIET).view(torch.float32)


def _encoded_tau(tau: X, random: X) -> X:
    finite = tau <= LARGEST
    return _root(tau * 2.0**32, finite, LARGEST_TAU, random).where(finite, NO_NUMBER_V)


def _decoded_tau(code: X) -> X:
    code = code & 0xFFFF
    root = code.to(torch.float32)
    size = (root * root * 2.0**-32).view(torch.int32)
    return size.where(code != NO_NUMBER_V, INFINITY | QUIET).view(torch.float32)


def _root(y: X, good: X, largest: int, random: X) -> X:
    """Return integers, at most `largest`, whose squares have the mean y; 0 where y is not good.

    Both neighbours are squared as decoding does it, in float32, where large squares are rounded:
    so y is a mean of what will be read. (A fused multiply-add would not round: compile without.)
    """
    y = y.clamp(max=float(largest) ** 2).where(good, 0.0)
    lower = y.sqrt().floor()
    upper = lower + 1
    square = lower * lower
    up = (y - square) > random * (upper * upper - square)
    return upper.where(up, lower).to(torch.int32)


# --- bfloat16 weights -----------------------------------------------------------------------------


class NearestWeights:
    """The weights in whatever floats they are, rounded to nearest as they are stored."""

    name = "nearest"

    def parts(self) -> dict[str, torch.dtype]:
        """Return nothing: there is only the parameter."""
        return {}

    def decode(self, codes: dict[str, X]) -> X:
        """Return the parameter: here "p" is float32 already, not bits."""
        return codes["p"]

    def encode(self, p: X, random: Random) -> dict[str, X]:
        """Return the weights as they are."""
        return {"p": p}


class StochasticWeights:
    """The weights rounded at random, and nothing else."""

    name = "stochastic"

    def parts(self) -> dict[str, torch.dtype]:
        """Return nothing: there is only the parameter."""
        return {}

    def decode(self, codes: dict[str, X]) -> X:
        """Return the parameter."""
        return (codes["p"] << 16).view(torch.float32)

    def encode(self, p: X, random: Random) -> dict[str, X]:
        """Return the upper 16 bits, rounded at random."""
        return {"p": stochastic(bits(p), random(WEIGHT_WORD), 16)}


class Split24Weights:
    """The weights to 24 bits, rounded at random: the nearest bfloat16, and 8 bits of difference."""

    name = "split24"

    def parts(self) -> dict[str, torch.dtype]:
        """Return the difference."""
        return {"low": torch.int8}

    def decode(self, codes: dict[str, X]) -> X:
        """Return the parameter plus the difference."""
        return _joined(codes["p"], codes["low"] << 8)

    def encode(self, p: X, random: Random) -> dict[str, X]:
        """Return the nearest bfloat16 of what 24 bits hold, and the difference."""
        return _split(stochastic(bits(p), random(WEIGHT_WORD), 8), 8)


class Split32Weights:
    """All 32 bits of the weights: the nearest bfloat16, and 16 bits of difference."""

    name = "split32"

    def parts(self) -> dict[str, torch.dtype]:
        """Return the difference."""
        return {"low": torch.int16}

    def decode(self, codes: dict[str, X]) -> X:
        """Return the parameter plus the difference."""
        return _joined(codes["p"], codes["low"])

    def encode(self, p: X, random: Random) -> dict[str, X]:
        """Return the nearest bfloat16 and the difference."""
        return _split(bits(p), 16)


def _joined(upper: X, rest: X) -> X:
    """Return the floats whose nearest bfloat16 is `upper`, and which are `rest` further.

    Zero has no rest below it. Where there is one, somebody has set a weight to zero since, and the
    sum would be a NaN: it is taken for none.
    """
    nonzero = (upper & 0x7FFF) > 0
    return ((upper << 16) + rest.where(nonzero, rest & (rest >> 31 ^ -1))).view(torch.float32)


def _split(code: X, low: int) -> dict[str, X]:
    """Split codes of 16 + `low` bits: what is nearest in 16, and the signed rest.

    Ties go away from zero, else the rest would not fit. A NaN has no nearest: it is cut.
    """
    number = _number(code << 16 - low)
    upper = ((code + (1 << low - 1)) >> low).where(number, code >> low)
    return {"p": upper, "low": code - (upper << low)}


# --- tables and tensors ---------------------------------------------------------------------------

CODECS: dict[str, Codec] = {x.name: x for x in (Float32(), BFloat16(), Float24(), Log16())}
"""The values of `state_dtype`."""
WEIGHTS: dict[str, Weights] = {
    x.name: x for x in (StochasticWeights(), NearestWeights(), Split24Weights(), Split32Weights())
}
"""The values of `bf16_weights`."""


def widened(stored: Tensor) -> Tensor:
    """Return stored codes as int32: the bits of floats, integers with their sign."""
    if stored.dtype == torch.bfloat16:
        stored = stored.view(torch.int16)
    return stored.view(torch.int32) if stored.dtype == torch.float32 else stored.to(torch.int32)


def narrowed(code: Tensor, dtype: torch.dtype) -> Tensor:
    """Return int32 codes as they are stored in `dtype`, its bits if it is a float."""
    if dtype == torch.float32:
        return code.view(dtype)
    if dtype == torch.bfloat16:
        return code.to(torch.int16).view(dtype)
    return code.to(dtype)
