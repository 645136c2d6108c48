"""From one code of the states to another, in the middle of training."""

import copy

import pytest
import torch

import adana
from adana.optim.coded import in_full
from adana.optim.work import Work

from .conftest import parameters, run, same

SHAPES = [(33, 31), (7,), (), (0,), (300_000,)]
"""The last is longer than what is in full precision at once."""
STEP_OF = {"fp32": 0.0, "bf16_sr": 2**-7, "fp24": 2**-15}
"""The largest relative step of a code; those of log16 depend on its other values."""
CODES = ["fp32", "bf16_sr", "fp24", "log16"]


def in_float32(optimizer):
    """The weights and states of every parameter, decoded."""
    found = []
    for group in optimizer.param_groups:
        for p in group["params"]:
            state = optimizer.state[p]
            work = Work(group, [p], [p], [state], None, owners=[p])
            weights, wide = in_full(work, 0, optimizer.stored(group, p))
            found.append({"p": weights.clone(), **{k: x.clone() for k, x in wide.items()}})
    return found


@pytest.mark.parametrize("new", CODES)
@pytest.mark.parametrize("old", CODES)
@pytest.mark.parametrize("cls", [adana.ADana, adana.DanaStarMK4])
def test_states_mean_the_same_in_the_new_code_and_go_on_in_it(cls, old, new):
    params = parameters(shapes=SHAPES)
    optimizer = run(cls, params, 3, lr=1e-3, state_dtype=old)
    weights, before = [p.detach().clone() for p in params], in_float32(optimizer)
    adana.convert_states(optimizer, state_dtype=new)
    after = in_float32(optimizer)
    assert same(params, weights)
    for p, wide, narrow in zip(params, before, after, strict=True):
        kept = {name: x.dtype for name, x in optimizer.state[p].items() if name != "step"}
        assert kept == optimizer.stored(optimizer.param_groups[0], p)
        assert optimizer.state[p]["step"] == 3
        for name in ("m", "v", "tau") if cls is adana.DanaStarMK4 else ("m", "v"):
            if new != "log16":
                assert torch.allclose(narrow[name], wide[name], rtol=STEP_OF[new], atol=0), name
            elif p.numel() > 1000:  # by its definition: see adana.optim.codecs.Log16
                size = wide["v"].sqrt() if name == "m" else wide[name]
                assert torch.allclose(narrow[name] / size, wide[name] / size, atol=2e-3), name
    run(None, params, 2, start=3, optimizer=optimizer)
    assert optimizer.state_dict()["param_groups"][0]["state_dtype"] == new


def test_rounding_is_at_random_and_changes_no_mean():
    p = torch.nn.Parameter(torch.zeros(200_000))
    optimizer = adana.ADana([p], lr=1e-3, omega=0)
    p.grad = torch.ones_like(p)
    optimizer.step()
    for name, value in {"m": 0.3337, "v": 0.5551}.items():
        optimizer.state[p][name].fill_(value)
    adana.convert_states(optimizer, state_dtype="bf16_sr")
    for name, value in {"m": 0.3337, "v": 0.5551}.items():
        found = optimizer.state[p][name].double()
        assert len(found.unique()) == 2
        assert abs(found.mean() - value) < 5 * found.std() / 200_000**0.5


def test_the_bits_are_not_those_of_a_step():
    params = parameters(shapes=[(10_000,)])
    optimizer = run(adana.ADana, params, 1, lr=1e-3)
    others = parameters(shapes=[(10_000,)])
    by_step = run(adana.ADana, others, 1, lr=1e-3, state_dtype="bf16_sr")
    adana.convert_states(optimizer, state_dtype="bf16_sr")
    differ = optimizer.state[params[0]]["v"] != by_step.state[others[0]]["v"]
    assert 0.05 < differ.float().mean() < 0.6


@pytest.mark.parametrize("kind", ["nearest", "stochastic", "split24"])
def test_bfloat16_weights_get_other_bits_beside_them(kind):
    params = parameters(torch.bfloat16, [(100, 100), (3,)])
    optimizer = run(adana.ADana, params, 3, lr=1e-3, bf16_weights="split32")
    exact, states = [x["p"] for x in in_float32(optimizer)], in_float32(optimizer)
    adana.convert_states(optimizer, bf16_weights=kind)
    for p, value, before, after in zip(params, exact, states, in_float32(optimizer), strict=True):
        assert same([after["m"], after["v"]], [before["m"], before["v"]])
        if kind == "nearest":
            assert torch.equal(p, value.bfloat16())
        else:
            assert torch.allclose(after["p"], value, rtol=2**-15 if kind == "split24" else 2**-7)
        assert ("low" in optimizer.state[p]) == (kind == "split24")
    run(None, params, 1, start=3, optimizer=optimizer)


def test_to_split32_the_weights_stay_what_they_are():
    params = parameters(torch.bfloat16, [(100,)])
    optimizer = run(adana.ADana, params, 2, lr=1e-3)
    before = params[0].detach().clone()
    adana.convert_states(optimizer, bf16_weights="split32")
    assert torch.equal(params[0], before)
    assert not optimizer.state[params[0]]["low"].any()


def test_parameters_without_a_state_start_in_the_new_code():
    params = parameters(shapes=[(5,), (6,)])
    optimizer = adana.ADana(params, lr=1e-3)
    params[0].grad = torch.ones(5)
    optimizer.step()
    adana.convert_states(optimizer, state_dtype="log16")
    assert params[1] not in optimizer.state
    run(None, params, 1, optimizer=optimizer)
    assert {optimizer.state[p]["m"].dtype for p in params} == {torch.int16}
    assert [int(optimizer.state[p]["step"]) for p in params] == [2, 1]


def test_a_float32_checkpoint_goes_on_in_two_bytes_and_back():
    params = parameters(shapes=SHAPES)
    saved = run(adana.ADana, params, 3, lr=1e-3).state_dict()
    fresh = adana.ADana(params, lr=1e-3, state_dtype="log16")
    with pytest.warns(
        UserWarning, match=r"adana\.convert_states\(optimizer, state_dtype='log16'\)"
    ):
        fresh.load_state_dict(saved)
    adana.convert_states(fresh, state_dtype="log16")
    run(None, params, 1, start=3, optimizer=fresh)
    adana.convert_states(fresh, state_dtype="fp32")
    other = adana.ADana(parameters(shapes=SHAPES), lr=1e-3)
    other.load_state_dict(fresh.state_dict())
    assert other.param_groups[0]["state_dtype"] == "fp32"


def test_captured_steps_keep_their_counters():
    params = parameters(shapes=[(50,)])
    optimizer = run(adana.ADana, params, 2, lr=1e-3, capturable=True)
    adana.convert_states(optimizer, state_dtype="fp24")
    run(None, params, 1, start=2, optimizer=optimizer)
    assert optimizer.state[params[0]]["step"] == 3


def test_a_model_that_was_cast_keeps_its_averages():
    """Floats stand for each other by value, whatever was stored before and is after."""
    (p,) = parameters(shapes=[(50,)])
    optimizer = run(adana.ADana, [p], 2, lr=1e-3, state_dtype="bf16_sr")
    before = in_float32(optimizer)[0]["m"]
    p.data = p.data.double()
    adana.convert_states(optimizer, state_dtype="fp32")
    assert optimizer.state[p]["m"].dtype == torch.float64
    assert torch.equal(optimizer.state[p]["m"].float(), before)
    p.data = p.data.float()
    adana.convert_states(optimizer, state_dtype="bf16_sr")
    assert torch.equal(in_float32(optimizer)[0]["m"], before)
    run(None, [p], 1, start=2, optimizer=optimizer)


def test_weights_that_became_bfloat16_have_no_bits_beside_them_yet():
    (p,) = parameters(shapes=[(50,)])
    optimizer = run(adana.ADana, [p], 2, lr=1e-3, bf16_weights="split24")
    p.data = p.data.bfloat16()
    before = p.detach().clone()
    adana.convert_states(optimizer, bf16_weights="split32")
    assert torch.equal(p, before)
    assert not optimizer.state[p]["low"].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_muon_and_narrow_weights_in_any_layout(dtype):
    images = torch.nn.Parameter(
        torch.randn(4, 3, 5, 5).to(dtype, memory_format=torch.channels_last)
    )
    gaps = torch.nn.Parameter(torch.randn(6, 8).to(dtype)[:, ::2])
    params = [images, gaps, *parameters(dtype, [(3, 4), ()])]
    groups = [{"params": params[:3], "muon": True}, {"params": params[3:], "muon": False}]
    optimizer = run(adana.LogMuon, params, 2, optimizer=adana.LogMuon(groups, 1e-3))
    before = in_float32(optimizer)
    adana.convert_states(optimizer, state_dtype="fp24")
    for wide, narrow in zip(before, in_float32(optimizer), strict=True):
        assert wide.keys() == narrow.keys()
        for name in wide:
            assert torch.allclose(narrow[name], wide[name], rtol=STEP_OF["fp24"], atol=0), name
    assert optimizer.state[images]["m"].stride() == images.stride()
    run(None, params, 1, start=2, optimizer=optimizer)


def test_some_groups_are_converted_as_the_warning_says():
    params = parameters(shapes=[(5,), (6,)])
    groups = [{"params": params[:1]}, {"params": params[1:]}]
    saved = run(adana.ADana, params, 2, optimizer=adana.ADana(groups, 1e-3)).state_dict()
    fresh = adana.ADana([{**groups[0], "state_dtype": "fp24"}, groups[1]], 1e-3)
    with pytest.warns(UserWarning, match=r"state_dtype='fp24', groups=\[0\]\)"):
        fresh.load_state_dict(saved)
    adana.convert_states(fresh, state_dtype="fp24", groups=[0])
    assert [fresh.state[p]["m"].dtype for p in params] == [torch.int16, torch.float32]
    assert [group["state_dtype"] for group in fresh.param_groups] == ["fp24", "fp32"]
    with pytest.raises(IndexError):
        adana.convert_states(fresh, state_dtype="fp24", groups=[2])


def test_groups_added_later_start_in_the_code_of_all():
    first, second = parameters(shapes=[(5,), (6,)])
    optimizer = run(adana.ADana, [first], 1, lr=1e-3)
    adana.convert_states(optimizer, state_dtype="fp24")
    optimizer.add_param_group({"params": [second]})
    assert optimizer.param_groups[1]["state_dtype"] == "fp24"


def test_what_others_keep_in_a_state_stays():
    (p,) = parameters(shapes=[(5,)])
    optimizer = run(adana.ADana, [p], 1, lr=1e-3)
    optimizer.state[p]["theirs"] = "note"
    adana.convert_states(optimizer, state_dtype="fp24")
    assert optimizer.state[p]["theirs"] == "note"


def test_optimizers_of_others_are_refused():
    optimizer = torch.optim.AdamW(parameters(shapes=[(5,)]))
    with pytest.raises(TypeError, match="not for AdamW"):
        adana.convert_states(optimizer, state_dtype="fp24")


@pytest.mark.parametrize("how", ["cast", "missing"])
def test_states_that_someone_cast_are_refused_and_nothing_changes(how):
    params = parameters(shapes=[(5,), (6,)])
    optimizer = run(adana.ADana, params, 1, lr=1e-3)
    state = optimizer.state[params[1]]
    if how == "cast":
        state["m"] = state["m"].half()
    else:
        del state["m"]
    found = {"cast": "torch.float16", "missing": "missing"}[how]
    with pytest.raises(ValueError, match=f"'m' should be of torch.float32 and is {found}"):
        adana.convert_states(optimizer, state_dtype="fp24")
    assert optimizer.state[params[0]]["m"].dtype == torch.float32
    assert optimizer.param_groups[0]["state_dtype"] == "fp32"


@pytest.mark.parametrize(
    ("cls", "dtype", "changes", "complaint"),
    [
        (adana.AdEMAMix, torch.float32, {"state_dtype": "log16"}, "needs averages m and v"),
        (adana.ADana, torch.float64, {"state_dtype": "fp24"}, "at most 32 bits"),
        (adana.ADana, torch.float32, {"state_dtype": "int8"}, "state_dtype must be"),
        (adana.ADana, torch.bfloat16, {"bf16_weights": "exact"}, "bf16_weights must be"),
        (adana.ADana, torch.float32, {}, "give state_dtype, bf16_weights or both"),
    ],
)
def test_what_has_no_code_is_refused_and_nothing_changes(cls, dtype, changes, complaint):
    params = parameters(dtype, [(5,)])
    optimizer = run(cls, params, 1, lr=1e-3, total_steps=100)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=complaint):
        adana.convert_states(optimizer, **changes)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"][0].keys() == before["state"][0].keys()
    assert same(after["state"][0].values(), before["state"][0].values())


def test_offloaded_states_are_refused():
    params = parameters(shapes=[(5,)])
    optimizer = run(adana.ADana, params, 1, lr=1e-3)
    handle = adana.offload_states(optimizer)
    with pytest.raises(RuntimeError, match="convert them before"):
        adana.convert_states(optimizer, state_dtype="fp24")
    handle.remove()
    adana.convert_states(optimizer, state_dtype="fp24")
