"""Codes of states and weights: every code is a number, in order, and rounding has the right mean.

Means are taken over all random bits that count, not over a sample, so that they are exact where the
arithmetic is.
"""

import math

import pytest
import torch

from adana.optim.codecs import (
    CODECS,
    FLOOR,
    LARGEST,
    LARGEST_M,
    LARGEST_TAU,
    LARGEST_V,
    NO_NUMBER_V,
    R_MAX,
    WEIGHTS,
    bits,
    fraction,
    narrowed,
    stochastic,
    widened,
)
from adana.optim.randomness import key, words

ALL = torch.arange(1 << 16, dtype=torch.int32)
SIGNED = ALL << 16 >> 16
EXTREME = (0, -1, 0x7FFFFFFF, -0x80000000, 0x55555555)
"""Random words: all zeros, all ones, halves of both."""
TINY, SMALLEST_NORMAL = 2.0**-149, 2.0**-126
VALUES = (
    0.0, TINY, 3 * TINY, 0.7 * SMALLEST_NORMAL, SMALLEST_NORMAL, 1e-30, 1e-12, 1 / 3, 1.0,
    1 + 2.0**-23, 1.9999999, math.pi, 65504.0, 1e9, 1e30, 3e38,
)  # fmt: skip
NAN, INF = math.nan, math.inf
QUIET_BITS = 0x7FC00000
NANS = torch.tensor([0x7F800001, 0x7FC00000, 0x7FFFFFFF, -0x400000, -1], dtype=torch.int32)
"""Bits of NaNs: of the smallest and largest content, those of an x86 and of a GPU among them."""


def same(word):
    """Return a source of random bits that gives all elements this word."""
    return lambda k: torch.tensor(word, dtype=torch.int32)


def every(count):
    """Return all words that differ in the lowest `count` bits."""
    return torch.arange(1 << count, dtype=torch.int32)


def stored(codec, states, random):
    """Return the states after they were stored and read."""
    dtypes = {}
    for name in states:
        dtypes |= codec.parts(name)
    codes = codec.encode(states, random)
    assert set(codes) == set(dtypes)
    kept = {name: narrowed(code, dtypes[name]) for name, code in codes.items()}
    return codec.decode({name: widened(x) for name, x in kept.items()})


def unit_v(shape=()):
    """Return the codes of v = 1, which every log16 code of m needs beside it."""
    v = CODECS["log16"].encode({"v": torch.ones(shape)}, same(0))
    assert CODECS["log16"].decode(v)["v"].eq(1).all()
    return v


def two_values(x):
    """Return whether no more than two values occur."""
    return ((x == x.min()) | (x == x.max())).all()


# --- every code -----------------------------------------------------------------------------------


def test_every_code_of_v_is_a_number_in_order_that_no_random_word_changes():
    codec = CODECS["log16"]
    v = codec.decode({"v": ALL})["v"]
    assert v[0] == 0
    assert (v[:NO_NUMBER_V].diff() > 0).all()
    assert v[NO_NUMBER_V - 1] == LARGEST_V
    assert v[NO_NUMBER_V].isnan()
    assert v[:NO_NUMBER_V].isfinite().all()
    for word in EXTREME:
        assert codec.encode({"v": v}, same(word))["v"].equal(ALL)
    random = words(ALL, key(0, 1, 0))
    assert codec.encode({"v": v}, random)["v"].equal(ALL)


def test_codes_of_v_are_those_of_their_stored_sign_too():
    v, same_v = (CODECS["log16"].decode({"v": codes})["v"] for codes in (SIGNED, ALL))
    assert v[:NO_NUMBER_V].equal(same_v[:NO_NUMBER_V])
    assert narrowed(ALL, torch.int16).to(torch.int32).equal(SIGNED)


def test_steps_of_v_are_a_fixed_fraction_above_the_floor_and_even_below():
    v = CODECS["log16"].decode({"v": ALL[:NO_NUMBER_V]})["v"].double()
    step = v.diff()
    above = v[:-1] >= 1000 * FLOOR
    relative = step[above] / v[:-1][above]
    assert relative.max() <= 2.0**-9 * 1.002
    assert relative.min() >= 2.0**-10
    assert step[v[:-1] < FLOOR].eq(FLOOR / 512).all()


@pytest.mark.parametrize("level", [1.0, 0.37, 1e-20, 3e-30, 4e9])
def test_every_code_of_m_is_a_number_in_order_and_keeps_its_place(level):
    """Except where the 24 bits of a float32 cannot tell m from its neighbour: 1 word in 500."""
    codec = CODECS["log16"]
    codes = {"v": codec.encode({"v": torch.full(ALL.shape, level)}, same(0))["v"], "m": SIGNED}
    states = codec.decode(codes)
    order = states["m"][SIGNED.argsort()]
    assert order[0].isnan()
    assert order[1:].isfinite().all()
    assert (order[1:].diff() > 0).all()
    assert states["m"][1:0x8000].equal(-states["m"].flip(0)[: 0x8000 - 1])
    half = words(ALL, key(0, 1, 0))
    assert codec.encode(states, same(0x55555555))["m"].equal(SIGNED)
    moved = codec.encode(states, half)["m"] - SIGNED
    assert moved.abs().max() <= 1
    assert moved.ne(0).float().mean() < 1 / 500


def test_every_code_of_tau_is_a_number_in_order_and_keeps_its_place():
    """As with m, but that its squares come back exactly."""
    codec = CODECS["log16"]
    codes = {"v": unit_v(ALL.shape)["v"], "tau": ALL}
    states = codec.decode(codes)
    tau = states["tau"]
    assert tau[0] == 0
    assert tau[NO_NUMBER_V].isnan()
    assert (tau[:NO_NUMBER_V].diff() > 0).all()
    assert 0.9999 < tau[LARGEST_TAU] < 1
    for word in EXTREME:
        assert codec.encode(states, same(word))["tau"].equal(ALL)


@pytest.mark.parametrize("word", EXTREME)
def test_every_bfloat16_keeps_its_place(word):
    """But that a NaN may become another."""
    codec = CODECS["bf16_sr"]
    x = codec.decode({"m": SIGNED})["m"]
    assert x.view(torch.int32).equal(narrowed(SIGNED, torch.bfloat16).float().view(torch.int32))
    again = codec.encode({"m": x}, same(word))["m"]
    assert again[~x.isnan()].equal(SIGNED[~x.isnan()])
    assert codec.decode({"m": again})["m"].isnan().equal(x.isnan())


@pytest.mark.parametrize("low", [0, 1, 0x7F, 0x80, 0xFF])
def test_every_24_bit_float_keeps_its_place(low):
    codec = CODECS["fp24"]
    codes = {"m": SIGNED, "m_low": torch.full_like(SIGNED, low)}
    x = codec.decode(codes)["m"]
    for word in EXTREME:
        again = codec.encode({"m": x}, same(word))
        number = ~x.isnan()
        assert again["m"][number].equal(SIGNED[number])
        assert again["m_low"][number].equal(codes["m_low"][number])
        assert codec.decode(again)["m"].isnan().equal(x.isnan())


# --- the mean -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("name", "low"), [("bf16_sr", 16), ("fp24", 8)])
@pytest.mark.parametrize("state", ["m", "v", "tau", "fast"])
def test_floats_cut_at_random_have_their_mean_exactly(name, low, sign, state):
    """Over all words: each state has bits of its own, so shift them to where they count."""
    slot = ("m", "v", "tau", "fast").index(state)
    place = 16 * (slot % 2) if name == "bf16_sr" else 8 * slot
    random = every(low) << place
    for value in VALUES:
        x = torch.full(random.shape, sign * value)
        found = stored(CODECS[name], {state: x}, lambda k: random)[state].double()
        assert found.mean() == x[0].double()
        assert two_values(found)


def test_v_has_its_mean_exactly():
    """Exactly that of v + 2^-96 as a float32."""
    random = every(14)
    for value in (*(v for v in VALUES if v < LARGEST_V), FLOOR, FLOOR / 3000, 0.9 * LARGEST_V):
        v = torch.full(random.shape, value)
        found = stored(CODECS["log16"], {"v": v}, lambda k: random)["v"].double()
        aim = (v[0] + FLOOR).double() - FLOOR
        assert found.mean().item() == pytest.approx(aim.item(), rel=2.0**-23, abs=2.0**-122)
        assert two_values(found)


UPPER = every(18) << 14
"""Words with all values of their upper 18 bits."""


def step_of_root(size, unit):
    """Return the step of a code of roots of sizes in these units, at one size."""
    return (2 * math.sqrt(size / unit) + 1) * unit


@pytest.mark.parametrize("level", [0.37, 1e-20])
def test_m_has_its_mean_to_the_resolution_of_float32(level):
    """18 random bits miss the probability by half a bit: 2^-19 of a step; then float32 rounds."""
    codec = CODECS["log16"]
    v = torch.full((), level)
    exact = codec.decode(codec.encode({"v": v}, same(0)))["v"].item()
    unit = math.sqrt(exact) * R_MAX / 2**30
    for r in (0.0, 1e-10, 1e-7, 3e-4, 0.01, 0.1, 1 / 3, 0.5, 0.99, 1.0, 1.2):
        for sign in (1, -1):
            m = torch.tensor(sign * r * math.sqrt(exact), dtype=torch.float32)
            # v is on its code already, so that its bits do not count
            states = {"m": m.expand(UPPER.shape), "v": torch.full(UPPER.shape, exact)}
            found = stored(codec, states, lambda k: UPPER)["m"].double()
            tolerance = 2.0**-18 * step_of_root(abs(m.item()), unit) + 2.0**-22 * abs(m.item())
            assert found.mean().item() == pytest.approx(m.item(), abs=tolerance)
            assert two_values(found)
            step = 1.001 * step_of_root(abs(m.item()), unit) + unit
            assert found.max() - found.min() <= step + 2.0**-22 * abs(m.item())


def test_tau_has_its_mean_to_the_resolution_of_float32():
    for value in (0.0, 1e-12, 1e-9, 2e-5, 0.01, 0.25, 0.385, 0.5, 0.7, 0.9999):
        tau = torch.full(UPPER.shape, value)
        states = {"tau": tau, "v": torch.ones(UPPER.shape)}
        found = stored(CODECS["log16"], states, lambda k: UPPER)["tau"].double()
        tolerance = 2.0**-18 * step_of_root(value, 2.0**-32) + 2.0**-22 * value
        assert found.mean().item() == pytest.approx(tau[0].item(), abs=tolerance)
        assert two_values(found)


@pytest.mark.parametrize("name", ["bf16_sr", "fp24", "log16"])
def test_with_the_bits_of_training_means_are_right_and_errors_independent(name):
    """Over 65,536 elements: z of each mean, and of the products of the errors of two states."""
    generator = torch.Generator().manual_seed(0)
    count = len(ALL)
    limit = 5
    for step in range(1, 9):
        value = torch.rand(3, generator=generator).tolist()
        v = value[1] * 10.0 ** (3 * step - 16)
        states = {
            "m": torch.full((count,), (2 * value[0] - 1) * math.sqrt(v)),
            "v": torch.full((count,), v),
            "tau": torch.full((count,), value[2]),
        }
        found = stored(CODECS[name], states, words(ALL, key(0, step, 0)))
        errors = []
        for key_, x in states.items():
            error = found[key_].double() - x.double()
            spread = error.std()
            assert spread > 0
            rounding = 2.0**-22 * x[0].abs().double()
            assert error.mean().abs() < limit * spread / math.sqrt(count) + rounding
            errors.append((error - error.mean()) / spread)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert (errors[a] * errors[b]).mean().abs() < limit / math.sqrt(count)


# --- edges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", EXTREME)
def test_v_ends_at_its_largest_code(word):
    for value in (LARGEST_V, 2.0**32, 1e20, LARGEST):
        code = CODECS["log16"].encode({"v": torch.tensor(value)}, same(word))["v"]
        assert code == NO_NUMBER_V - 1


def test_tau_of_one_is_the_largest_code():
    states = {"tau": torch.tensor([1.0, 1.5, 1e30]), "v": torch.ones(3)}
    assert CODECS["log16"].encode(states, same(-1))["tau"].eq(LARGEST_TAU).all()


@pytest.mark.parametrize("word", EXTREME)
@pytest.mark.parametrize("sign", [1, -1])
def test_m_is_cut_at_the_largest_ratio(word, sign):
    m = sign * torch.tensor([R_MAX, 1.3, 100.0, 1e30])
    codes = CODECS["log16"].encode({"m": m, "v": torch.ones(4)}, same(word))
    assert codes["m"].eq(sign * LARGEST_M).all()
    read = CODECS["log16"].decode(codes)["m"]
    assert read.abs().max().item() == pytest.approx(R_MAX, rel=1e-4)


@pytest.mark.parametrize("word", EXTREME)
def test_where_v_is_zero_so_is_m(word):
    m = torch.tensor([0.0, 1e-40, -1e-20, 1.0, -1e30])
    codes = CODECS["log16"].encode({"m": m, "v": torch.zeros(5)}, same(word))
    states = CODECS["log16"].decode(codes)
    assert states["v"].eq(0).all()
    assert states["m"].eq(0).all()


def test_m_goes_with_the_v_that_is_read():
    """Of two roundings of v the one code of m differs, the product does not."""
    v = torch.full((1 << 14,), 1.0007)
    m = torch.full((1 << 14,), 0.6)
    states = stored(CODECS["log16"], {"m": m, "v": v}, lambda k: every(14) | 1 << 31)
    assert len(states["v"].unique()) == 2
    assert (states["m"] - m).abs().max() < 2 * step_of_root(0.6, R_MAX / 2**30)


@pytest.mark.parametrize("name", ["bf16_sr", "fp24"])
@pytest.mark.parametrize("word", EXTREME)
def test_what_is_finite_stays_finite(name, word):
    x = torch.tensor([LARGEST, -LARGEST, 3.3895e38, 0.0, -0.0, TINY, -TINY])
    found = stored(CODECS[name], {"m": x}, same(word))["m"]
    assert found.isfinite().all()
    assert found.signbit().equal(x.signbit())


@pytest.mark.parametrize("name", ["fp32", "bf16_sr", "fp24"])
@pytest.mark.parametrize("word", EXTREME)
def test_infinity_and_nan_stay_what_they_are(name, word):
    x = torch.cat([torch.tensor([INF, -INF]), NANS.view(torch.float32)])
    found = stored(CODECS[name], {"m": x, "v": x}, same(word))
    for state in found.values():
        assert state[:2].equal(x[:2])
        assert state[2:].isnan().all()


@pytest.mark.parametrize("word", EXTREME)
@pytest.mark.parametrize("bad", [INF, -INF, *NANS.view(torch.float32)])
def test_log16_reads_nan_where_anything_was_not_finite(word, bad):
    """Averages with an infinity are NaN one step later anyway."""
    bad = torch.as_tensor(bad)
    good = torch.tensor(0.5)
    for states, broken in (
        ({"m": bad, "v": good, "tau": good}, {"m"}),
        ({"m": good, "v": bad.abs(), "tau": good}, {"m", "v"}),
        ({"m": good, "v": good, "tau": bad.abs()}, {"tau"}),
        ({"m": bad, "v": torch.tensor(0.0), "tau": good}, {"m"}),
        ({"m": bad, "v": bad.abs(), "tau": bad.abs()}, {"m", "v", "tau"}),
    ):
        found = stored(CODECS["log16"], states, same(word))
        assert {name for name, x in found.items() if x.isnan()} == broken


@pytest.mark.parametrize("g", [INF, -INF, NAN, 1e25])
@pytest.mark.parametrize("name", ["fp32", "bf16_sr", "fp24", "log16"])
def test_a_broken_gradient_is_seen_for_ever(name, g):
    """1e25 has a square that float32 lacks."""
    codec = CODECS[name]
    states = {"m": torch.tensor(0.1), "v": torch.tensor(0.3), "tau": torch.tensor(0.4)}
    for t, new in enumerate(torch.tensor([g, 0.5, 0.5, 0.5]), 1):
        v = states["v"].lerp(new * new, 0.01)
        size = new.abs() / (new.abs() + v.sqrt())
        tau = states["tau"].lerp(size, 0.01)
        states = {"m": states["m"].lerp(new, 0.01), "v": v, "tau": tau}
        states = stored(codec, states, words(torch.tensor(0, dtype=torch.int32), key(0, t, 0)))
    assert states["v"].isnan()
    assert states["tau"].isnan()


def test_log16_refuses_states_without_a_known_range():
    with pytest.raises(ValueError, match=r"'fast'.*fp24"):
        CODECS["log16"].parts("fast")


def test_bytes_of_each_code():
    """Of m and v, and of tau."""
    size = {
        name: [
            sum(d.itemsize for s in states for d in codec.parts(s).values())
            for states in (("m", "v"), ("m", "v", "tau"))
        ]
        for name, codec in CODECS.items()
    }
    assert size == {"fp32": [8, 12], "bf16_sr": [4, 6], "fp24": [6, 9], "log16": [4, 6]}


def test_float32_states_are_kept_bit_by_bit():
    patterns = (ALL << 16) + (ALL * 40503 & 0xFFFF)
    states = {"m": patterns.view(torch.float32), "v": patterns.flip(0).view(torch.float32)}
    found = stored(CODECS["fp32"], states, same(0))
    assert all(found[k].view(torch.int32).equal(states[k].view(torch.int32)) for k in states)


# --- weights --------------------------------------------------------------------------------------


def written(weights, p, random):
    """Return the parameter and its parts as they are stored."""
    codes = weights.encode(p, random)
    dtypes = {"p": torch.bfloat16, **weights.parts()}
    assert set(codes) == set(dtypes)
    return {name: narrowed(code, dtypes[name]) for name, code in codes.items()}


def read(weights, kept):
    return weights.decode({name: widened(x) for name, x in kept.items()})


def patterns():
    """Return a million floats: all upper halves with lower halves spread and at their edges."""
    edges = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
    lower = [torch.full_like(ALL, low) for low in edges]
    lower += [ALL * k & 0xFFFF for k in (40503, 25173, 13849, 27073, 9301, 4096, 257, 1, 3)]
    return torch.cat([(ALL << 16) | low for low in lower]).view(torch.float32)


def test_split32_is_exact_and_its_parameter_the_nearest():
    p = patterns()
    kept = written(WEIGHTS["split32"], p, same(-1))
    number = ~p.isnan()
    again = read(WEIGHTS["split32"], kept)
    assert again[number].view(torch.int32).equal(p[number].view(torch.int32))
    assert again[~number].isnan().all()
    assert kept["p"][~number].isnan().all()
    finite = p.isfinite() & (p.abs() < 3.38e38)
    distance = (kept["p"][finite].double() - p[finite].double()).abs()
    nearest = (p[finite].bfloat16().double() - p[finite].double()).abs()
    assert distance.equal(nearest)


@pytest.mark.parametrize("word", EXTREME)
def test_split24_keeps_what_it_reads_and_its_parameter_is_the_nearest(word):
    weights, p = WEIGHTS["split24"], patterns()
    kept = written(weights, p, same(word))
    once = read(weights, kept)
    number = ~p.isnan()
    assert once[~number].isnan().all()
    assert kept["p"][~number].isnan().all()
    assert once[p.isinf()].equal(p[p.isinf()])
    assert once[p.isfinite()].isfinite().all()
    again = written(weights, once, same(-1 - word))
    assert all(again[k][number].view(-1).equal(kept[k][number].view(-1)) for k in kept)
    normal = p.isfinite() & (p.abs() < 3.38e38) & (p.abs() > SMALLEST_NORMAL)
    error = ((once - p).double() / p.double())[normal]
    assert error.abs().max() <= 2.0**-15
    gap = (kept["p"][normal].double() - once[normal].double()).abs()
    nearest = (once[normal].bfloat16().double() - once[normal].double()).abs()
    assert gap.equal(nearest)


@pytest.mark.parametrize("name", ["split24", "split32"])
def test_weights_that_somebody_has_written_are_read_as_written(name):
    parameter = ALL.to(torch.int16).view(torch.bfloat16)
    parameter = parameter[parameter.isfinite()]
    (dtype,) = WEIGHTS[name].parts().values()
    for low in (torch.iinfo(dtype).min, -1, 0, 1, torch.iinfo(dtype).max):
        stale = torch.full(parameter.shape, low, dtype=dtype)
        found = read(WEIGHTS[name], {"p": parameter, "low": stale})
        assert found.isfinite().all()
        near = (found.double() - parameter.double()).abs() <= parameter.double().abs() * 2**-8
        assert (near | (found.abs() < SMALLEST_NORMAL)).all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("name", "low"), [("stochastic", 16), ("split24", 8)])
def test_weights_have_their_mean_exactly(name, low, sign):
    random = every(low)
    for value in VALUES:
        p = torch.full(random.shape, sign * value)
        found = read(WEIGHTS[name], written(WEIGHTS[name], p, lambda k: random))
        assert found.double().mean() == p[0].double()


@pytest.mark.parametrize("name", ["stochastic", "split24", "split32"])
def test_weights_that_are_not_finite_are_seen_in_the_parameter(name):
    p = torch.cat([torch.tensor([INF, -INF]), NANS.view(torch.float32)])
    for word in EXTREME:
        kept = written(WEIGHTS[name], p, same(word))
        assert kept["p"][:2].float().equal(p[:2])
        assert kept["p"][2:].isnan().all()
        assert read(WEIGHTS[name], kept)[2:].isnan().all()


def test_weights_and_states_use_words_of_their_own():
    asked = []

    def random(k):
        asked.append(k)
        return torch.zeros((), dtype=torch.int32)

    x = torch.tensor(0.5)
    for codec in CODECS.values():
        codec.encode({"m": x, "v": x, "tau": x}, random)
    of_states = set(asked)
    asked.clear()
    for weights in WEIGHTS.values():
        weights.encode(x, random)
    assert asked
    assert not of_states & set(asked)


# --- operations -----------------------------------------------------------------------------------


class Only:
    """A tensor that can do no more than a kernel can: fails on any other operation or dtype."""

    def __init__(self, x):
        assert x.dtype in (torch.float32, torch.int32, torch.bool)
        self.x = x

    def __bool__(self):
        raise AssertionError("a decision on data")


def _plain(x):
    if isinstance(x, int) and not isinstance(x, bool):
        assert -(2**31) <= x < 2**31
    return x.x if isinstance(x, Only) else x


def _allowed(name, *dtypes):
    def operation(self, *others, **named):
        assert self.x.dtype in dtypes, f"{name} of {self.x.dtype}"
        others = [_plain(x) for x in others]
        if name not in ("view", "to", "where", "__lshift__", "__rshift__"):
            for other in others:
                kind = other.dtype if isinstance(other, torch.Tensor) else type(other)
                alike = {torch.float32: (float, int), torch.int32: (int,), torch.bool: ()}
                assert kind in (self.x.dtype, *alike[self.x.dtype]), f"{name} with {kind}"
        return Only(getattr(self.x, name)(*others, **{k: _plain(x) for k, x in named.items()}))

    return operation


FLOAT, INT, BOOL = torch.float32, torch.int32, torch.bool
for _name in ("add", "sub", "mul", "radd", "rsub", "rmul", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Only, f"__{_name}__", _allowed(f"__{_name}__", FLOAT, INT))
for _name in ("and", "or"):
    setattr(Only, f"__{_name}__", _allowed(f"__{_name}__", INT, BOOL))
for _name in ("xor", "lshift", "rshift"):
    setattr(Only, f"__{_name}__", _allowed(f"__{_name}__", INT))
for _name in ("__truediv__", "__neg__", "sqrt", "abs", "floor", "clamp"):
    setattr(Only, _name, _allowed(_name, FLOAT))
for _name in ("where", "view", "to"):
    setattr(Only, _name, _allowed(_name, FLOAT, INT))
Only.__hash__ = None


@pytest.mark.parametrize("name", CODECS)
def test_codes_of_states_use_only_what_kernels_have(name):
    codec = CODECS[name]
    index, values = ALL[:100], torch.linspace(0.1, 0.9, 100)
    states = {"m": values, "v": values, "tau": values}
    random = words(Only(index), key(0, 1, 0))
    codes = codec.encode({k: Only(x) for k, x in states.items()}, random)
    expected = codec.encode(states, words(index, key(0, 1, 0)))
    assert all(codes[k].x.equal(expected[k]) for k in expected)
    found = codec.decode(codes)
    assert all(found[k].x.equal(x) for k, x in codec.decode(expected).items())


@pytest.mark.parametrize("name", WEIGHTS)
def test_codes_of_weights_use_only_what_kernels_have(name):
    weights, p = WEIGHTS[name], torch.linspace(-1, 1, 100)
    codes = weights.encode(Only(p), words(Only(ALL[:100]), key(0, 1, 0)))
    expected = weights.encode(p, words(ALL[:100], key(0, 1, 0)))
    assert all(codes[k].x.equal(expected[k]) for k in expected)
    assert weights.decode(codes).x.equal(weights.decode(expected))


def test_fractions_are_inside_and_even():
    found = fraction(UPPER, 18)
    assert found.min() == 2.0**-19
    assert found.max() == 1 - 2.0**-19
    assert found.double().mean() == 0.5


def test_stochastic_takes_the_words_lowest_bits_only():
    x = bits(torch.tensor(1.2345))
    for low in (8, 16):
        assert stochastic(x, torch.tensor(-1 << low), low) == x >> low
