"""What float32 and narrower weights do late in long runs (spec/optimizers.md section 12)."""

import io

import numpy as np
import pytest
import torch

import adana
from adana.optim import AblatedADana

from .members import ROWS, SOME_ROWS
from .threads import one_thread

MANY = 200_000
PATHS = {"single": {"foreach": False}, "foreach": {"foreach": True}, "tensor": {"capturable": True}}
"""Ways through the code: numbers as floats, lists of tensors, numbers as float32 tensors."""
LOG_TIME = {
    "adana": adana.ADana,
    "dana-mk4": adana.DanaMK4,
    "dana-star": adana.DanaStar,
    "dana-star-mk4": adana.DanaStarMK4,
    "log-ademamix": adana.LogAdEMAMix,
    "log-nadamw": lambda ps, **kw: AblatedADana(ps, momentum="undamped", **kw),
    "dana-average": lambda ps, **kw: adana.Dana(ps, average=True, **kw),
}


@pytest.fixture(autouse=True)
def _quietly():
    with one_thread():
        yield


def at_step(make, t, p, **arguments):
    """Return an optimizer of `p` whose next step is step t, its state and the group."""
    optimizer = make([p], **{"lr": 1e-3, "total_steps": max(t, 100), **arguments})
    start = p.detach().clone()
    p.grad = torch.zeros_like(p)
    optimizer.step()
    p.data.copy_(start)
    optimizer.state[p]["step"].fill_(t - 1)
    return optimizer, optimizer.state[p], optimizer.param_groups[0]


# --- averages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", LOG_TIME)
@pytest.mark.parametrize("t", [800_000, 1_000_000])
def test_the_weight_of_a_gradient_late_in_training_is_exact(name, path, t):
    """Within 1e-4 of `8/(8 + t)`, where `1 - a` in float32 would be off by 3e-3.

    What enters is measured from averages at zero, what is forgotten from many averages between 1
    and 2: a single one is a multiple of 2^-23, coarser than 1 % of its change.
    """
    a = 8 / (8 + t - (name == "dana-average"))  # plain DANA counts from 0
    values = 1 + torch.rand(MANY, generator=torch.Generator().manual_seed(1))
    p = torch.nn.Parameter(torch.zeros(MANY))
    optimizer, state, _ = at_step(LOG_TIME[name], t, p, **PATHS[path])
    p.grad = values.clone()
    optimizer.step()
    assert (state["m"].double() / values / a - 1).abs().max() < 1e-6
    slow_v = name not in ("dana-average", "log-ademamix")  # no v, or one of constant memory
    if slow_v:
        assert (state["v"].double() / values.double() ** 2 / a - 1).abs().max() < 1e-6
    names = ["m", *(["v"] if slow_v else []), *(["tau"] if "tau" in state else [])]
    for key in names:
        state[key].copy_(values)
    state["step"].fill_(t - 1)
    p.grad = torch.zeros_like(p)
    optimizer.step()
    for key in names:
        forgotten = (values.double() - state[key].double()).sum() / values.double().sum()
        assert forgotten.item() == pytest.approx(a, rel=1e-4, abs=0), key


@pytest.mark.parametrize("name", ["adana", "dana-star"])
@pytest.mark.parametrize("path", PATHS)
def test_an_average_in_balance_stays_there_late_in_training(name, path):
    """With g^2 random around v the mean of v does not move, for any v and at 1e6 as at 1e5 steps.

    Taking `a v` off and adding `a g^2` in two roundings fails: the first rounds the same way at
    every step, so that v settles up to 0.7 % away from the mean of g^2 at t = 1e6.
    """
    levels, each = torch.linspace(0.5, 0.98, 13)[:, None], 16_384
    generator = torch.Generator().manual_seed(2)
    for t in (10**5, 10**6):
        p = torch.nn.Parameter(torch.zeros(13, each))
        optimizer, state, _ = at_step(LOG_TIME[name], t, p, omega=0.0, **PATHS[path])
        state["v"].copy_(levels.expand(13, each))
        moved = torch.zeros(13, 1, dtype=torch.float64)
        for k in range(10):
            v = state["v"].double()
            p.grad = torch.randn(13, each, generator=generator) * levels.sqrt()
            optimizer.step()
            a = 8 / (8 + t + k)
            exact = v + a * (p.grad.double() ** 2 - v)
            moved += (state["v"].double() - exact).mean(dim=1, keepdim=True)
        settles_off = moved / (10 * a) / levels
        assert settles_off.abs().max().item() < 2e-3


# --- decay ----------------------------------------------------------------------------------------


def decayed(fraction, path, make=adana.ADana):
    """Return the fraction that a step without gradients takes from many float32 weights."""
    p = torch.nn.Parameter(torch.randn(MANY, generator=torch.Generator().manual_seed(3)))
    before = p.detach().double().abs().sum()
    optimizer, _, group = at_step(make, 10**6, p, omega=1.0, decay_offset=10.0, **PATHS[path])
    group["omega"] = fraction * (10.0 + 10**6)
    optimizer.step()
    return 1 - (p.detach().double().abs().sum() / before).item()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("make", [adana.ADana, adana.DanaStar, adana.LogAdamW, adana.Dana])
def test_decay_late_in_a_run_of_a_million_steps_is_not_quantised(path, make):
    """`gamma lambda` is 3.6e-7 there, six times the spacing of float32 below 1.

    A weight can only change by whole units, but over many weights the mean is right within 2 %,
    and within 0.5 % over the last half of the run; a float32 factor `1 - gamma lambda` is the
    same for all and off by up to 9 %, as the last line shows.
    """
    fractions = np.geomspace(3.3e-7, 3e-6, 12)
    ratios = np.array([decayed(f, path, make) / f for f in fractions])
    assert np.abs(ratios - 1).max() < 0.02
    assert abs(ratios.mean() - 1) < 0.005
    worst = 5.5 * 2**-24
    assert decayed(worst, path, make) == pytest.approx(worst, rel=0.02)
    assert 1 - float(np.float32(1 - worst)) != pytest.approx(worst, rel=0.08)


def test_decay_of_other_optimizers_is_not_quantised_either():
    p = torch.nn.Parameter(torch.randn(MANY, generator=torch.Generator().manual_seed(3)))
    before = p.detach().double().abs().sum()
    optimizer = adana.with_log_time_decay(
        torch.optim.SGD([p], lr=1.0), omega=5.5 * 2**-24 * 1e6, decay_offset=10**6 - 1
    )
    p.grad = torch.zeros_like(p)
    optimizer.step()
    taken = 1 - (p.detach().double().abs().sum() / before).item()
    assert taken == pytest.approx(5.5 * 2**-24, rel=0.02)


# --- counters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [256, 2**24, 2**31])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("capturable", [False, True])
def test_counters_stay_exact_at_any_length_and_precision(t, dtype, capturable):
    """bf16 counts to 256, float32 to 2^24; the counter is an integer, also after loading."""
    p = torch.nn.Parameter(torch.ones(2, dtype=dtype))
    optimizer, state, _ = at_step(adana.ADana, t + 1, p, capturable=capturable)
    for _ in range(3):
        optimizer.step()
    assert state["step"].item() == t + 3
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = adana.ADana([p], lr=1e-3)
    again.load_state_dict(torch.load(file, weights_only=True))
    again.step()
    assert again.state[p]["step"].item() == t + 4
    assert again.state[p]["step"].dtype == torch.int64


@pytest.mark.parametrize("path", PATHS)
def test_beyond_two_to_the_24_schedules_use_the_exact_step(path):
    """At t = 2^24 + 1 the newest gradient weighs 8/(t + 8), not what float32 makes of t."""
    p = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    t = 2**24 + 1
    optimizer, state, _ = at_step(adana.ADana, t, p, **PATHS[path])
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert state["m"].item() == pytest.approx(8 / (8 + t), rel=1e-14, abs=0)
    assert state["m"].item() != pytest.approx(8 / (8 + 2**24), rel=1e-9, abs=0)


# --- zeros ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", SOME_ROWS)
def test_gradients_of_zero_give_no_nan_and_move_nothing(name, dtype):
    """From the first step on; then gradients whose squares underflow, then ordinary ones."""
    p = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    optimizer = ROWS[name].make([p], omega=0.0)
    for _ in range(5):
        p.grad = torch.zeros_like(p)
        optimizer.step()
    assert torch.equal(p, torch.ones_like(p))
    for size in (1e-30, 1e-7, 1.0):
        p.grad = torch.tensor([0.0, size, -size], dtype=dtype)
        optimizer.step()
        assert torch.isfinite(p).all()
        assert p[0] == 1.0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", SOME_ROWS)
def test_momentum_of_zero_has_no_sign(name, path):
    """With m = 0 and g = 0, but v and tau not, nothing moves."""
    p = torch.nn.Parameter(torch.ones(3))
    optimizer, state, _ = at_step(ROWS[name].make, 100, p, omega=0.0, **PATHS[path])
    for key in {"v", "tau"} & set(state):
        state[key].fill_(0.3)
    optimizer.step()
    assert torch.equal(p, torch.ones_like(p))


# --- narrow weights -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SOME_ROWS)
def test_narrow_weights_are_rounded_once_per_step(name, dtype, path):
    """Decay and step together end within half a unit of the exact result, computed in float64.

    Rounding after each of the two would leave about a fifth of the weights further away.
    """
    generator = torch.Generator().manual_seed(4)
    start = torch.randn(2000, generator=generator).to(dtype)
    g = torch.randn(2, 2000, generator=generator).to(dtype)
    exact, narrow = (torch.nn.Parameter(x) for x in (start.double(), start.clone()))
    for p in (exact, narrow):
        wide = p is exact
        given = {"lr": 0.01, "omega": 1.0, "decay_offset": 20.0, "decay": "log-time"}
        given["bf16_weights"] = "nearest"
        optimizer = ROWS[name].make([p], **given, **({} if wide else PATHS[path]))
        p.grad = g[0].to(p.dtype)
        optimizer.step()
        p.data.copy_(start)
        p.grad = g[1].to(p.dtype)
        optimizer.step()
    result, target = narrow.detach().double(), exact.detach()
    mantissa = {torch.bfloat16: 7, torch.float16: 10}[dtype]
    unit = torch.exp2(target.abs().log2().floor() - mantissa).clamp(min=2.0**-24)
    wide_rounding = 2.0**-21 * start.double().abs().clamp(min=0.05)
    assert ((result - target).abs() <= 0.5 * unit + wide_rounding).all()
    assert not torch.equal(narrow, start)
