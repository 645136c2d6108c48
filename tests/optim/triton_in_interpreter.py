"""The Triton kernels, in Triton's interpreter: `test_triton.py` runs this in a process of its own.

Triton decides when it is imported whether it interprets. By hand:
TRITON_INTERPRET=1 python -m pytest tests/optim/triton_in_interpreter.py
"""

import pytest
import torch

import adana
from adana.optim.codecs import CODECS, WEIGHTS, narrowed, widened
from adana.optim.kernel import c_launch, triton_launch
from adana.optim.kernel.recipe import Buffer, Recipe, Traced, row_of
from adana.optim.kernel.symbols import Tape
from adana.optim.kernel.triton_library import interpreted, loaded
from adana.optim.kernel.triton_source import source
from adana.optim.placement import Placement, global_index
from adana.optim.randomness import key, words
from adana.optim.update import SEEN, Form, Hyper, Updated, updated

from .conftest import close

assert interpreted(), "set TRITON_INTERPRET=1"
CPU = torch.device("cpu")


@pytest.fixture
def through_triton(monkeypatch):
    """Fused steps on the CPU go through the Triton kernel; returns the sizes of each launch."""
    launches = []

    def run(recipe, rows, numbers):
        launches.append([row.size for row in rows])
        return triton_launch.run(recipe, rows, numbers)

    monkeypatch.setattr(c_launch, "run", run)
    return launches


def awkward(dtype=torch.float32):
    """Parameters of sizes and places that are easy to get wrong; views are not aligned."""
    store = torch.randn(6000, generator=torch.Generator().manual_seed(0)).to(dtype)
    tensors = [store[a:b].clone() for a, b in ((0, 0), (0, 1), (0, 1023), (0, 4097), (0, 2048))]
    tensors += [store[1:34].view(3, 11), store[35:36].view(()), store[40:70].view(5, 6).t()]
    return [torch.nn.Parameter(x) for x in tensors]


def trained(make, params, steps=3, missing=(), **overrides):
    """Return the optimizer after some steps with gradients that depend on the step alone."""
    optimizer = make(params, **overrides)
    for step in range(steps):
        for i, p in enumerate(params):
            noise = torch.Generator().manual_seed(1000 * step + i)
            p.grad = torch.randn(p.shape, generator=noise).to(p.dtype)
            if i in missing and step == 0:
                p.grad = None
        optimizer.step()
    return optimizer


def agree(one, other, tolerance=3e-6):
    """Whether the parameters and float states of two optimizers agree to rounding."""
    ours, theirs = (x.param_groups[0]["params"] for x in (one, other))
    states = [
        (one.state[p][name], other.state[q][name])
        for p, q in zip(ours, theirs, strict=True)
        for name in one.state[p]
    ]
    return close(ours, theirs, tolerance) and close(*zip(*states, strict=True), tolerance)


def test_every_configuration_agrees_with_the_eager_update(make, through_triton):
    fused = trained(make, awkward(), fused=True)
    eager = trained(make, awkward(), fused=False, foreach=False)
    assert agree(fused, eager)
    count = 5 if make.arguments.get("muon") else 7  # all but the empty one and Muon's matrices
    assert [len(sizes) for sizes in through_triton] == [count] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_agree_but_for_ties_of_rounding(dtype, through_triton):
    runs = []
    for fused in (True, False):
        params = awkward(dtype)
        trained(adana.ADana, params, lr=1e-2, total_steps=9, fused=fused, bf16_weights="nearest")
        runs.append(torch.cat([p.detach().float().flatten() for p in params]))
    differ = runs[0] != runs[1]
    assert through_triton
    assert differ.float().mean() < 0.01
    assert torch.allclose(*runs, rtol=0.01, atol=1e-6)


def test_ascending_is_descending_with_the_other_sign(through_triton):
    fused = trained(adana.DanaStar, awkward(), lr=1e-2, fused=True, maximize=True)
    eager = trained(adana.DanaStar, awkward(), lr=1e-2, fused=False, maximize=True)
    assert through_triton
    assert agree(fused, eager)


def test_capturable_steps_take_a_row_of_numbers_for_each_tensor(through_triton):
    late = {"missing": (2, 3)}  # these are a step behind the others
    fused = trained(adana.ADana, awkward(), lr=1e-2, fused=True, capturable=True, **late)
    eager = trained(adana.ADana, awkward(), lr=1e-2, fused=False, **late)
    assert [len(sizes) for sizes in through_triton] == [5, 7, 7]  # one launch, two steps
    assert agree(fused, eager)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_not_finite_shows_in_the_weights(dtype, through_triton):
    for bad in (float("nan"), float("inf")):
        p = torch.nn.Parameter(torch.ones(5, dtype=dtype))
        p.grad = torch.tensor([0.0, 1.0, bad, 1.0, 0.0], dtype=dtype)
        adana.DanaStarMK4([p], lr=1e-2, fused=True, bf16_weights="nearest").step()
        assert p.isfinite().tolist() == [True, True, False, True, True]
    assert len(through_triton) == 2


# --- codes ----------------------------------------------------------------------------------------

PLACES = [
    (4097, Placement(0, 4097, 0)),
    (1030, Placement((1 << 33) - 500, 1030, 0)),  # passes from one 2^32 to the next
    (1030, Placement((1 << 31) - 500, 1030, 0)),  # and where int32 changes its sign
    (3000, Placement(5, 7, 100)),  # many runs in a block
    (5000, Placement(40, 1500, 3001)),  # runs longer than a block
    (4096, Placement(3, 1024, 1 << 20)),  # runs of a block
]


@pytest.mark.parametrize(("size", "where"), PLACES)
def test_random_words_are_those_of_the_eager_update(size, where):
    tape = Tape()
    made = words(
        tape.symbol("index", "int"), (tape.symbol("key_a", "int"), tape.symbol("key_b", "int"))
    )
    names = ("first", "second", "third")
    stores = {name: made(k) for k, name in enumerate(names)}
    buffers = [Buffer(name, torch.float32, "int") for name in names]
    loads = {name: tape.symbol(f"{name}_old", "int") for name in names}
    text = source(Traced(buffers, tape.statements, loads, stores, {}))
    kernel = triton_launch.Kernel(loaded(text), (), keyed=True)

    found = [torch.zeros(size) for _ in names]
    chosen = key(1, 2, 3)
    triton_launch.launch(kernel, [row_of(tuple(found), 0, where, chosen)], torch.zeros(1, 1), CPU)
    expected = words(global_index(where, found[0]), chosen)
    for k, x in enumerate(found):
        assert torch.equal(x.view(torch.int32), expected(k))


def summed(p, g, s, h, form, *, see):
    """A rule of additions, which every order of rounding computes alike."""
    return Updated(p + g, {name: x + g * g for name, x in s.items()}, {})


@pytest.mark.parametrize("weights", sorted(WEIGHTS))
@pytest.mark.parametrize("states", sorted(CODECS))
def test_codes_are_those_of_the_eager_update_to_the_bit(states, weights):
    names = ("m", "v", "tau")
    dtype = torch.float32 if weights == "nearest" else torch.bfloat16
    recipe = Recipe(summed, Form(tau=True), names, dtype, torch.bfloat16, states, weights)
    codec, of_weights = CODECS[states], WEIGHTS[weights]
    noise = torch.Generator().manual_seed(0)
    sizes, keys = (1, 1031, 2050), [key(0, 4, i) for i in range(3)]
    numbers = torch.tensor([Hyper(lr=1.0, scale=0.125)], dtype=torch.float32)
    rows, expected = [], []
    for size, chosen in zip(sizes, keys, strict=True):
        random = words(torch.arange(size, dtype=torch.int32), chosen)
        start = {x: torch.rand(size, generator=noise) * 0.5 for x in names}
        weight = torch.randn(size, generator=noise)
        g = torch.randn(size, generator=noise).to(torch.bfloat16)
        codes = {**of_weights.encode(weight, random), **codec.encode(start, random)}
        dtypes = {"p": dtype, **of_weights.parts()}
        dtypes |= {part: kind for x in names for part, kind in codec.parts(x).items()}
        stored = {
            name: code if code.is_floating_point() else narrowed(code, dtypes[name])
            for name, code in codes.items()
        }
        as_read = {x: s if weights == "nearest" and x == "p" else widened(s)
                   for x, s in stored.items()}  # fmt: skip
        old = codec.decode({x: as_read[x] for x in dtypes if x not in ("p", "low")})
        new = summed(of_weights.decode(as_read), g.float() * 0.125, old, None, None, see=False)
        after = {**of_weights.encode(new.p, random), **codec.encode(new.state, random)}
        expected.append({
            x: code if code.is_floating_point() else narrowed(code, dtypes[x])
            for x, code in after.items()
        })  # fmt: skip
        order = [x for x in dtypes if x not in ("p", "low")] + [x for x in dtypes if x == "low"]
        tensors = (stored["p"], g, *(stored[x] for x in order))
        rows.append((stored, row_of(tensors, 0, Placement(0, size, 0), chosen)))
    triton_launch.run(recipe, [row for _, row in rows], numbers)
    for (stored, _), codes in zip(rows, expected, strict=True):
        for name, code in codes.items():
            assert torch.equal(stored[name], code), name


@pytest.mark.parametrize("states", ["bf16_sr", "fp24", "log16"])
@pytest.mark.parametrize("cls", [adana.ADana, adana.DanaStar])
def test_coded_states_agree_but_for_ties_of_rounding(cls, states, through_triton):
    runs = []
    for fused in (True, False):
        params = awkward(torch.bfloat16)
        optimizer = trained(cls, params, lr=1e-2, state_dtype=states, fused=fused)
        stored = [x.view(torch.int16) if x.dtype == torch.bfloat16 else x
                  for p in params for name, x in optimizer.state[p].items()
                  if name != "step"]  # fmt: skip
        runs.append(torch.cat([x.flatten().float() for x in stored]))
        runs.append(torch.cat([p.detach().float().flatten() for p in params]))
    assert through_triton
    for one, other in (runs[0::2], runs[1::2]):
        assert (one != other).float().mean() < 0.01


# --- telemetry, tables ----------------------------------------------------------------------------


def test_sums_of_telemetry_are_those_of_each_tensor():
    form = Form(tau=True, clip=True)
    recipe = Recipe(updated, form, ("m", "v", "tau"), torch.float32, torch.float32, see=True)
    h = Hyper(1e-2, 1e-3, 0.1, 0.1, grad=1.0, momentum=2.0, clip=0.1, t=5.0, exponent=0.2, eps=1e-8)
    noise = torch.Generator().manual_seed(0)
    rows, expected = [], []
    for size in (3, 1024, 2500):
        p, g, *state = (torch.rand(size, generator=noise) for _ in range(5))
        seen = updated(p, g, dict(zip(("m", "v", "tau"), state, strict=True)), h, form, see=True)
        expected.append({name: x.float().sum() for name, x in seen.seen.items()})
        rows.append(row_of((p, g, *state)))
    sums = triton_launch.run(recipe, rows, torch.tensor([h], dtype=torch.float32))
    assert tuple(sums) == SEEN
    assert 0 < sums["clipped"][2] < 2500
    for name, found in sums.items():
        torch.testing.assert_close(found, torch.stack([x[name] for x in expected]))


def test_every_block_is_worked_on_once_and_only_whole_accesses_are_called_aligned():
    block = triton_launch.BLOCK
    sizes = (0, 1, 16, block - 1, block, 3 * block + 5, 2 * block + 32)
    for aligned in ((True,) * 7, (False,) * 7, (True, False) * 3 + (True,)):
        fast, slow = triton_launch.programs(torch.tensor(sizes), torch.tensor(aligned))
        pairs = sorted(map(tuple, torch.cat([fast, slow]).tolist()))
        assert pairs == [(i, k) for i, n in enumerate(sizes) for k in range(-(-n // block))]
        for i, k in fast.tolist():
            assert aligned[i]
            assert min(block, sizes[i] - k * block) % 16 == 0
        for i, k in slow.tolist():
            assert not aligned[i] or (sizes[i] - k * block < block and sizes[i] % 16 != 0)


def test_a_step_of_empty_tensors_launches_nothing():
    recipe = Recipe(updated, Form(), ("m", "v"), torch.float32, torch.float32)
    row = row_of(tuple(torch.zeros(0) for _ in range(4)))
    assert triton_launch.run(recipe, [row], torch.zeros(1, len(Hyper._fields))) == {}
