"""What symbols record and C computes is what torch's operations of the same names compute."""

import ctypes
import math

import pytest
import torch

from adana.optim.kernel.c_library import library
from adana.optim.kernel.c_source import PREAMBLE, TYPES, _statement
from adana.optim.kernel.symbols import Tape

FLOATS = torch.tensor([
    0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.7, -3.7, 1e-45, -1e-40, 1.1754944e-38, 1e-20, 123456.789,
    -7e8, 2.0**31 - 128, 3.4e38, -3.4e38, math.inf, -math.inf, math.nan,
])  # fmt: skip
INTS = torch.tensor(
    [0, 1, -1, 2, -2, 7, 31, -31, 0xFFFF, -0x8000, 0x7F800000, 123456789, 2**31 - 1, -(2**31)],
    dtype=torch.int32,
)


def pairs(x):
    a, b = torch.cartesian_prod(x, x).unbind(1)
    return a.contiguous(), b.contiguous()


def in_c(function, *tensors):
    """Return what a kernel of one expression makes of the tensors' elements."""
    tape = Tape()
    kinds = ["float" if x.dtype == torch.float32 else "int" for x in tensors]
    names = [f"in{i}" for i in range(len(tensors))]
    result = function(*(tape.symbol(n, k) for n, k in zip(names, kinds, strict=True)))
    pointers = [f"{TYPES[k]} *p_{n}" for n, k in zip(names, kinds, strict=True)]
    loads = [f"{TYPES[k]} {n} = p_{n}[i];" for n, k in zip(names, kinds, strict=True)]
    body = "\n".join([*loads, *map(_statement, tape.statements), f"out[i] = {result.name};"])
    text = (
        f"{PREAMBLE}\nvoid f(int32_t n, {', '.join(pointers)}, {TYPES[result.kind]} *out) {{\n"
        f"#pragma omp simd\nfor (int32_t i = 0; i < n; i++) {{\n{body}\n}}}}\n"
    )
    out = torch.empty_like(tensors[0], dtype=torch.float32 if result.kind == "float" else torch.int)
    pointer = [ctypes.c_void_p(x.data_ptr()) for x in (*tensors, out)]
    library(text).f(ctypes.c_int32(out.numel()), *pointer)
    return out.bool() if result.kind == "bool" else out


def assert_equal(found, expected):
    """To the bit, except that one NaN is as good as another."""
    if found.dtype == torch.float32:
        assert torch.equal(found.isnan(), expected.isnan())
        found, expected = (x[~expected.isnan()].view(torch.int32) for x in (found, expected))
    assert torch.equal(found, expected)


BOTH = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "less": lambda a, b: a < b,
    "at most": lambda a, b: a <= b,
    "more": lambda a, b: a > b,
    "at least": lambda a, b: a >= b,
    "equal": lambda a, b: a == b,
    "not equal": lambda a, b: a != b,
    "both": lambda a, b: (a < b) & (b > 0),
    "either": lambda a, b: (a < b) | (b > 0),
    "where": lambda a, b: a.where(b > 1, b),
    "where else a constant": lambda a, b: a.where(b > 1, 3),
    "negative": lambda a, b: -a,
    "absolute": lambda a, b: a.abs(),
    "constants on the right": lambda a, b: (a + 3) * 5 - 7,
    "constants on the left": lambda a, b: 7 - 5 * (3 + a),
    "square": lambda a, b: a.square(),
}
OF_FLOATS = {
    "quotient": lambda a, b: a / b,
    "root": lambda a, b: a.sqrt(),
    "floor": lambda a, b: a.floor(),
    "clamp": lambda a, b: a.clamp(min=-1.5, max=0.25),
    "clamp max": lambda a, b: a.clamp(max=2.0),
    "bits": lambda a, b: a.view(torch.int32),
    "bits and back": lambda a, b: (a.view(torch.int32) ^ 1).view(torch.float32),
    "added multiple": lambda a, b: a.add(b),
    "product method": lambda a, b: a.mul(b),
    "same": lambda a, b: a.to(torch.float32).view(torch.float32),
}
OF_INTS = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "constants": lambda a, b: 0xFF00 & a | 12 ^ b,
    "left shift": lambda a, b: a << 13,
    "right shift": lambda a, b: a >> 13,
    "shift by data": lambda a, b: a >> (b & 31),
    "left shift by data": lambda a, b: a << (b & 31),
    "masked shift": lambda a, b: a >> 16 & 0xFFFF,
    "as float": lambda a, b: a.to(torch.float32),
    "read as float": lambda a, b: a.view(torch.float32),
    "minimum": lambda a, b: a.minimum(b),
    "maximum": lambda a, b: a.maximum(b),
    "clamp": lambda a, b: a.clamp(min=-5, max=100),
}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("values", [FLOATS, INTS], ids=["floats", "ints"])
def test_operations_of_both_kinds(name, values):
    a, b = pairs(values)
    assert_equal(in_c(BOTH[name], a, b), BOTH[name](a, b))


@pytest.mark.parametrize("name", OF_FLOATS)
def test_operations_of_floats(name):
    a, b = pairs(FLOATS)
    assert_equal(in_c(OF_FLOATS[name], a, b), OF_FLOATS[name](a, b))


def test_a_constant_is_divided_exactly_where_torch_multiplies_with_the_reciprocal():
    x = torch.cat([FLOATS, torch.linspace(-100, 100, 1000)])
    assert_equal(in_c(lambda a: 3 / a, x), (3 / x.double()).float())


@pytest.mark.parametrize("name", OF_INTS)
def test_operations_of_ints(name):
    a, b = pairs(INTS)
    assert_equal(in_c(OF_INTS[name], a, b), OF_INTS[name](a, b))


def test_conversion_to_int_cuts_off_towards_zero():
    x = FLOATS[FLOATS.abs() < 2.0**31]
    assert_equal(in_c(lambda a: a.to(torch.int32), x), x.to(torch.int32))


@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_the_smaller_and_the_larger_of_numbers_and_self_where_that_is_none(name):
    a, b = pairs(FLOATS)
    found = in_c(lambda x, y: getattr(x, name)(y), a, b)
    numbers = ~b.isnan() & ~((a == 0) & (b == 0))  # torch takes either zero
    assert_equal(found[numbers], getattr(a, name)(b)[numbers])
    assert torch.equal(found[b.isnan()].view(torch.int32), a[b.isnan()].view(torch.int32))


def ulps(found, exact):
    """How far floats are from float64 numbers, in units of the last place of those."""
    _, exponent = torch.frexp(exact)
    unit = torch.ldexp(torch.ones_like(exact), exponent - 24)
    return (found.double() - exact).abs() / unit


@pytest.mark.parametrize("name", ["lerp", "addcmul", "add", "addcdiv"])
def test_sums_with_a_product_are_rounded_once_or_twice(name):
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(4096, generator=generator) for _ in range(3))
    functions = {
        "lerp": lambda x, y, z: x.lerp(y, 0.3),
        "addcmul": lambda x, y, z: x.addcmul(y, z, value=0.7),
        "add": lambda x, y, z: x.add(y, alpha=0.3),
        "addcdiv": lambda x, y, z: x.addcdiv(y, z, value=0.7),
    }
    f = functions[name]
    exact = f(a.double(), b.double(), c.double())
    terms = a.abs().double() + (f(a, b, c) - a).abs().double() + b.abs()
    assert ((in_c(f, a, b, c) - exact).abs() <= 2.0**-22 * terms).all()


@pytest.mark.parametrize("name", ["exp", "log"])
def test_exp_and_log_alone(name):
    x = torch.linspace(0.01, 80, 5000)
    found = in_c(lambda a: getattr(a, name)(), x)
    assert ulps(found, getattr(x.double(), name)()).max() <= 2


@pytest.mark.parametrize("exponent", [0.0, 0.15, 0.5, 1.0, -0.85, 2.0])
def test_powers_are_as_close_as_the_helper_says(exponent):
    """The rounding of the logarithm grows with it; no other error does."""
    ends = 124 / max(1, abs(exponent))
    x = torch.logspace(-ends, ends, 200_001, base=2.0, dtype=torch.float64).float()
    y = torch.tensor(exponent).float()
    found = in_c(lambda a, b: a.log().mul(b).exp(), x, y.expand_as(x).contiguous())
    allowed = 2.6 * (1 + (y * x.double().log2()).abs())
    assert (ulps(found, x.double() ** y.double()) <= allowed).all()


def test_a_power_near_one_is_near_one():
    x = 1 + torch.arange(-2000, 2001) * 2.0**-24
    y = torch.full_like(x, 0.15)
    found = in_c(lambda a, b: a.log().mul(b).exp(), x, y)
    assert ulps(found, x.double() ** y.double()).max() <= 4


# --- what is refused ------------------------------------------------------------------------------


def values():
    tape = Tape()
    return tape.symbol("f", "float"), tape.symbol("i", "int"), tape.symbol("c", "int") > 0


REFUSED = {
    "a sum of two kinds": lambda f, i, c: f + i,
    "a clamp of two kinds": lambda f, i, c: f.minimum(i),
    "a mean of two kinds": lambda f, i, c: f.lerp(f, i),
    "a choice of two kinds": lambda f, i, c: f.where(c, i),
    "a choice by no condition": lambda f, i, c: f.where(i, f),
    "a quotient of ints": lambda f, i, c: i / 2,
    "a number by an int": lambda f, i, c: 2 / i,
    "a root of an int": lambda f, i, c: i.sqrt(),
    "a logarithm of an int": lambda f, i, c: i.log(),
    "a product of ints and floats": lambda f, i, c: i.lerp(i, i),
    "bits of a float": lambda f, i, c: f & 1,
    "a shift of a float": lambda f, i, c: f << 1,
    "a fraction for an int": lambda f, i, c: i + 0.5,
    "an int that does not fit": lambda f, i, c: i & 0xFFFFFFFF,
    "a sum of truths": lambda f, i, c: c + c,
    "an infinite constant": lambda f, i, c: f.clamp(max=math.inf),
    "a constant that is no number": lambda f, i, c: f * math.nan,
    "another dtype": lambda f, i, c: f.to(torch.float64),
    "other bits": lambda f, i, c: i.view(torch.int16),
    "a branch": lambda f, i, c: 1 if f > 0 else 2,
    "a chained comparison": lambda f, i, c: 0 < f < 1,
    "a set": lambda f, i, c: {f},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_meaning_in_a_kernel_is_refused(what):
    with pytest.raises(TypeError):
        REFUSED[what](*values())
