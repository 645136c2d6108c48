"""States and weights in fewer bytes, in the optimizers: what is kept, resumed, and refused."""

import io
import math
import warnings
from pathlib import Path

import pytest
import torch

import adana
from adana.optim import AblatedADana
from adana.optim.codecs import WEIGHTS, widened

from .conftest import close, parameters, run, same, set_gradients
from .test_fused import rows_of

SHAPES = [(33, 31), (7,), (), (1,), (0,), (70_000,)]
CODES = ["bf16_sr", "fp24", "log16"]
ROUNDINGS = ["stochastic", "split24", "split32"]
BYTES = {"fp32": 8, "bf16_sr": 4, "fp24": 6, "log16": 4}


def bytes_of(optimizer, p):
    """Bytes of state a parameter."""
    return sum(x.element_size() for name, x in optimizer.state[p].items() if name != "step")


@pytest.mark.parametrize("cls", [adana.ADana, adana.DanaStarMK4])
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_and_eager_steps_use_the_same_random_bits(cls, code, dtype):
    """Where rounding differs before the codes do, few codes differ, by one step of theirs."""
    found = []
    for options in ({"foreach": False}, {"foreach": True}, {"fused": True}):
        params = parameters(dtype, [(33, 31), (7,), ()])
        optimizer = run(cls, params, 1, lr=1e-2, state_dtype=code, **options)
        found.append([*params, *rows_of(optimizer)])
    assert same(found[0], found[1])
    for eager, fused in zip(found[0], found[2], strict=True):
        if eager.dtype == torch.float32:
            assert close([eager], [fused])
        elif eager.numel() > 1000:
            assert (eager != fused).float().mean() < 0.02


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_fused_and_eager_steps_round_bf16_weights_alike(rounding):
    optimizers = []
    for options in ({"foreach": False}, {"fused": True}):
        params = parameters(torch.bfloat16, [(33, 31), (7,)])
        optimizer = run(adana.ADana, params, 3, lr=1e-2, bf16_weights=rounding, **options)
        optimizers.append((optimizer, params[0]))
    weights = [p for _, p in optimizers]
    assert (weights[0] != weights[1]).float().mean() < 0.01
    wide = [x.float() for x in weights]
    if rounding != "stochastic":
        codec = WEIGHTS[rounding]
        lows = [optimizer.state[p]["low"] for optimizer, p in optimizers]
        wide = [
            codec.decode({"p": widened(w.detach()), "low": widened(low)})
            for w, low in zip(weights, lows, strict=True)
        ]
    assert close(*[[x] for x in wide], 1e-2 if rounding == "stochastic" else 1e-4)


@pytest.mark.parametrize("code", BYTES)
def test_what_is_kept_has_the_bytes_that_are_promised(code):
    params = parameters(shapes=[(3, 4)])
    optimizer = run(adana.ADana, params, 1, lr=1e-2, state_dtype=code)
    assert bytes_of(optimizer, params[0]) == BYTES[code]
    optimizer = run(adana.DanaStar, params, 1, lr=1e-2, state_dtype=code)
    assert bytes_of(optimizer, params[0]) == BYTES[code] * 3 // 2
    low = parameters(torch.bfloat16, [(3, 4)])
    optimizer = run(adana.ADana, low, 1, lr=1e-2, state_dtype=code, bf16_weights="split24")
    assert bytes_of(optimizer, low[0]) == BYTES[code] + 1


@pytest.mark.parametrize("options", [{}, {"foreach": False}], ids=["fused", "eager"])
@pytest.mark.parametrize(
    ("dtype", "arguments"),
    [(torch.float32, {"state_dtype": code}) for code in CODES]
    + [(torch.bfloat16, {"state_dtype": "log16", "bf16_weights": w}) for w in ROUNDINGS],
)
def test_resuming_at_any_step_goes_on_to_the_bit(dtype, arguments, options):
    whole = parameters(dtype, SHAPES)
    reference = run(adana.DanaStarMK4, whole, 4, lr=1e-2, **arguments, **options)
    for at in (1, 2, 3):
        params = parameters(dtype, SHAPES)
        optimizer = run(adana.DanaStarMK4, params, at, lr=1e-2, **arguments, **options)
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        params = [torch.nn.Parameter(p.detach().clone()) for p in params]
        again = adana.DanaStarMK4(params, 5e-3)  # the saved groups decide how states are kept
        again.load_state_dict(torch.load(file, weights_only=True))
        run(None, params, 4 - at, start=at, optimizer=again)
        assert same(whole, params)
        for a, b in zip(rows_of(reference), rows_of(again), strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def test_codes_loaded_as_other_dtypes_are_refused():
    """As torch.distributed.checkpoint does into an optimizer built with other codes."""
    params = parameters()
    saved = run(adana.ADana, params, 1, lr=1e-2).state_dict()
    for state in saved["state"].values():
        state["m"] = state["m"].to(torch.int16)
    with pytest.raises(ValueError, match="state_dtype"):
        adana.ADana(params, 1e-2).load_state_dict(saved)
    saved = run(adana.ADana, params, 1, lr=1e-2, state_dtype="fp24").state_dict()
    for state in saved["state"].values():
        del state["m_low"]
    with pytest.raises(ValueError, match="m_low"):
        adana.ADana(params, 1e-2).load_state_dict(saved)


@pytest.mark.parametrize("asked", ["log16", "fp24"])
def test_states_saved_in_other_codes_go_on_so_and_a_warning_says_it(asked):
    params = parameters()
    saved = run(adana.ADana, params, 1, lr=1e-2).state_dict()
    optimizer = adana.ADana(params, 1e-2, state_dtype=asked)
    with pytest.warns(UserWarning, match=rf"'fp32'.*'{asked}'") as seen:
        optimizer.load_state_dict(saved)
    assert [Path(each.filename).name for each in seen] == [Path(__file__).name]
    assert optimizer.state[params[0]]["m"].dtype == torch.float32
    saved = run(adana.ADana, params, 1, lr=1e-2, state_dtype=asked).state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adana.ADana(params, 1e-2).load_state_dict(saved)
        adana.ADana(params, 1e-2, state_dtype=asked).load_state_dict(saved)


# --- random bits ----------------------------------------------------------------------------------


def rounded(seed=0, steps=1, names=("a", "b"), order=(0, 1), **options):
    """Weights after equal steps of equal parameters, by name, as they are rounded at random."""
    named = [(n, torch.nn.Parameter(torch.full((500,), 0.77).bfloat16())) for n in names]
    named = [named[i] for i in order]
    optimizer = adana.ADana(named, 1e-3, seed=seed, **options)
    for _ in range(steps):
        for _, p in named:
            p.grad = torch.ones_like(p)
        optimizer.step()
    return {name: p.detach() for name, p in named}


def test_random_bits_differ_between_parameters_elements_steps_and_seeds():
    first, more, other = rounded(), rounded(steps=2), rounded(seed=1)
    assert not torch.equal(first["a"], first["b"])
    assert len(first["a"].unique()) == 2
    up, later = first["a"] > first["a"].min(), more["a"] > more["a"].min()
    assert not torch.equal(up, later)
    assert not torch.equal(first["a"], other["a"])
    assert torch.equal(first["a"], rounded()["a"])


def test_named_parameters_keep_their_bits_in_any_order():
    assert same(rounded()["a"], rounded(order=(1, 0))["a"])
    prefixed = rounded(names=("module.a", "_orig_mod.b"))
    assert torch.equal(rounded()["a"], prefixed["module.a"])


def test_capturable_steps_use_the_same_bits():
    for options in ({}, {"foreach": False}):
        assert torch.equal(rounded(**options)["a"], rounded(capturable=True, **options)["a"])


@pytest.mark.parametrize("code", CODES)
def test_layout_changes_no_random_bit(code):
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        (p,) = parameters(shapes=[(3, 4, 5, 6)])
        p.data = p.data.to(memory_format=layout)
        optimizer = adana.ADana([p], 1e-2, state_dtype=code)
        set_gradients([p], 0)
        optimizer.step()
        results.append(optimizer.state[p]["v"])
    assert (results[0] != results[1]).float().mean() < 0.02


# --- what is refused --------------------------------------------------------------------------


UNEQUAL = {
    "LogAdamW": lambda p, **k: adana.LogAdamW(p, 1e-2, **k),
    "AdEMAMix": lambda p, **k: adana.AdEMAMix(p, 1e-2, total_steps=100, **k),
    "AdEMAMix without fast average": lambda p, **k: adana.AdEMAMix(
        p, 1e-2, total_steps=100, betas=(0.0, 0.99), **k
    ),
    "LogAdEMAMix": lambda p, **k: adana.LogAdEMAMix(p, 1e-2, **k),
    "Dana": lambda p, **k: adana.Dana(p, 1e-2, **k),
    "LogMuon": lambda p, **k: adana.LogMuon(p, 1e-2, muon=True, **k),
    "ablation": lambda p, **k: AblatedADana(p, 1e-2, beta2=0.99, **k),
}


@pytest.mark.parametrize("name", UNEQUAL)
def test_log16_is_refused_where_m_is_not_bounded_by_v(name):
    params = parameters(shapes=[(4, 5)])
    with pytest.raises(ValueError, match=r"log16.*fp24"):
        UNEQUAL[name](params, state_dtype="log16")
    for code in ("fp24", "bf16_sr"):
        optimizer = UNEQUAL[name](params, state_dtype=code)
        for step in range(3):
            set_gradients(params, step)
            optimizer.step()
        assert params[0].isfinite().all()


def test_log16_is_refused_for_a_saved_state_and_a_group_added_later():
    params = parameters(shapes=[(4, 5), (3,)])
    optimizer = adana.LogAdamW(params[:1], 1e-2)
    with pytest.raises(ValueError, match="log16"):
        optimizer.add_param_group({"params": params[1:], "state_dtype": "log16"})
    assert len(optimizer.param_groups) == 1
    saved = optimizer.state_dict()
    saved["param_groups"][0]["state_dtype"] = "log16"
    with pytest.raises(ValueError, match="log16"):
        adana.LogAdamW(params[:1], 1e-2).load_state_dict(saved)


def test_log16_takes_adamw_with_equal_betas_and_muons_rest():
    params = parameters(shapes=[(4, 5), (3,)])
    run(adana.LogAdamW, params, 3, lr=1e-2, betas=(0.95, 0.95), state_dtype="log16")
    groups = [
        {"params": params[:1], "muon": True, "state_dtype": "fp24"},
        {"params": params[1:], "muon": False, "state_dtype": "log16"},
    ]
    optimizer = adana.LogMuon(groups, 1e-2)
    run(None, params, 3, optimizer=optimizer)
    assert set(optimizer.state[params[0]]) == {"step", "m", "m_low"}
    assert optimizer.state[params[1]]["m"].dtype == torch.int16


@pytest.mark.parametrize("code", CODES)
def test_float64_weights_have_no_codes(code):
    with pytest.raises(ValueError, match="float64"):
        adana.ADana(parameters(torch.float64), 1e-2, state_dtype=code)


def test_weights_that_became_float64_before_their_first_step_have_no_codes():
    (other,), model = parameters(shapes=[(3,)]), torch.nn.Linear(2, 2)
    optimizer = adana.ADana([other, *model.parameters()], 1e-2, state_dtype="log16")
    set_gradients([other], 0)
    optimizer.step()
    model.double()
    set_gradients(list(model.parameters()), 0)
    with pytest.raises(ValueError, match="float64"):
        optimizer.step()
    assert optimizer.state[other]["step"] == 1


@pytest.mark.parametrize("eps", [0.0, 1e-20])
def test_log16_needs_something_to_divide_by_where_v_is_read_as_zero(eps):
    params = parameters(shapes=[(4,), (3,)])
    with pytest.raises(ValueError, match=r"eps.*fp24"):
        adana.ADana(params, 1e-2, state_dtype="log16", eps=eps)
    adana.ADana(params, 1e-2, state_dtype="fp24", eps=eps)
    optimizer = adana.ADana(params, 1e-2, state_dtype="log16")
    with pytest.raises(ValueError, match=r"eps.*fp24"):
        optimizer.reschedule(eps=eps)


@pytest.mark.parametrize("scale", [1e-14, 1e-15, 1e-16, 1e-17, 1e-20])
def test_log16_with_the_smallest_eps_takes_no_larger_steps_than_float32(scale):
    """Whatever is kept of v."""
    moved = {}
    for code in ("fp32", "log16"):
        p = torch.nn.Parameter(torch.zeros(512))
        optimizer = adana.ADana([p], 1.0, omega=0, state_dtype=code, eps=2.3e-16)
        generator = torch.Generator().manual_seed(0)
        largest = 0.0
        for _ in range(40):
            p.grad = scale * torch.randn(512, generator=generator)
            before = p.detach().clone()
            optimizer.step()
            largest = max(largest, (p - before).abs().max().item())
        moved[code] = largest
    assert moved["log16"] < 2 * moved["fp32"]


@pytest.mark.parametrize("change", [{"state_dtype": "log16"}, {"bf16_weights": "split24"}])
def test_how_states_are_kept_cannot_be_rescheduled(change):
    optimizer = adana.ADana(parameters(), 1e-2)
    with pytest.raises(ValueError, match="cannot be rescheduled"):
        optimizer.reschedule(**change)


def test_unknown_codes_are_refused_by_name():
    for wrong in ({"state_dtype": "int8"}, {"bf16_weights": "up"}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            adana.ADana(parameters(), 1e-2, **wrong)


def test_a_reschedule_that_would_unbound_m_is_refused():
    optimizer = adana.LogAdamW(parameters(), 1e-2, betas=(0.9, 0.9), state_dtype="log16")
    with pytest.raises(ValueError, match="log16"):
        optimizer.reschedule(betas=(0.9, 0.99))
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.9)


def test_adamws_state_is_not_taken_over_into_codes():
    params = parameters()
    adamw = torch.optim.AdamW(params)
    set_gradients(params, 0)
    adamw.step()
    with pytest.raises(ValueError, match=r"bf16_weights=.nearest."):
        adana.load_adamw_state(adana.ADana(params, 1e-2, state_dtype="log16"), adamw.state_dict())


@pytest.mark.parametrize("rounding", ["stochastic", "split24", "split32"])
def test_muons_matrices_in_bf16_take_steps_that_rounding_to_nearest_loses(rounding):
    moved = {}
    for kind in ("nearest", rounding):
        p = torch.nn.Parameter(torch.full((16, 32), 1.0).bfloat16())
        optimizer = adana.LogMuon([p], 1e-5, muon=True, omega=0.0, bf16_weights=kind)
        for step in range(60):
            set_gradients([p], step)
            optimizer.step()
        low = optimizer.state[p].get("low")
        moved[kind] = (p != 1).any().item() or (low is not None and low.any().item())
        assert math.isfinite(p.float().sum().item())
    assert moved == {"nearest": False, rounding: True}


@pytest.mark.parametrize("fused", [False, None])
@pytest.mark.parametrize("rounding", ["stochastic", "split24", "split32"])
def test_weights_set_to_zero_in_the_middle_go_on_from_there(rounding, fused):
    p = torch.nn.Parameter(torch.randn(1000, generator=torch.Generator().manual_seed(1)).bfloat16())
    optimizer = adana.ADana([p], 1e-3, total_steps=1000, bf16_weights=rounding, fused=fused)
    for step in range(4):
        if step == 3:
            with torch.no_grad():
                p[:500] = 0  # a mask, say
            exact = adana.float32_state_dict(torch.nn.ParameterList([p]), optimizer)["0"]
            assert exact[:500].abs().max() < 1e-37
        set_gradients([p], step)
        optimizer.step()
    assert 0 < p[:500].abs().max() < 0.01


def test_weights_that_go_on_in_other_codes_than_asked_for_are_told():
    wide, narrow = (torch.nn.Parameter(torch.ones(8).to(x)) for x in (torch.float, torch.bfloat16))
    saved = run(adana.ADana, [wide], 1, lr=1e-3).state_dict()
    for asked, told in (("split32", True), ("stochastic", False)):
        optimizer = adana.ADana([narrow], 1e-3, bf16_weights=asked)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            optimizer.load_state_dict(saved)
        texts = [str(each.message) for each in found]
        assert any("convert_states(optimizer, bf16_weights='split32')" in x for x in texts) == told
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            adana.ADana([wide], 1e-3, bf16_weights=asked).load_state_dict(saved)
