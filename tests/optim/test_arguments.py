"""Each member refuses what is out of its range by name, and reads what it says it reads."""

import io
import math
import warnings

import numpy as np
import pytest
import torch

import adana
from adana.optim import AblatedADana

from .conftest import parameters, set_gradients

T = {"total_steps": 100}
DTYPES = {name: getattr(torch, name) for name in ("float", "double", "bfloat16")}
BAD = [
    (adana.DanaMK4, {}, {"clip_snr": 0.0}, "clip_snr"),
    (adana.DanaMK4, {}, {"clip_snr": math.nan}, "clip_snr"),
    (adana.DanaStarMK4, {}, {"clip_snr": -1.0}, "clip_snr"),
    (adana.DanaStar, {}, {"grad_clip_snr": 0.0}, "grad_clip_snr"),
    (adana.ADana, {}, {"momentum_cooldown": 0.5}, "total_steps"),
    (adana.ADana, T, {"momentum_cooldown": 1.5}, "momentum_cooldown"),
    (adana.ADana, {}, {"extra_momentum": -1.0}, "extra_momentum"),
    (adana.ADana, {}, {"decay": "constant"}, "total_steps"),
    (adana.ADana, {}, {"decay": "linear"}, "decay"),
    (adana.AdEMAMix, {}, {}, "total_steps"),
    (adana.AdEMAMix, {"total_steps": 5}, {}, "delta below total_steps"),
    (adana.AdEMAMix, T, {"beta3": 1.0}, "beta3"),
    (adana.AdEMAMix, T, {"alpha": -1.0}, "alpha"),
    (adana.AdEMAMix, T, {"warmup_steps": 0}, "warmup_steps"),
    (adana.AdEMAMix, T, {"kappa": 2.0}, "kappa"),
    (adana.LogAdEMAMix, {}, {"delta": 0.0}, "delta"),
    (adana.LogAdEMAMix, {}, {"betas": (0.9, 1.0)}, "beta2"),
    (adana.LogMuon, {"muon": True}, {"ns_steps": 0}, "ns_steps"),
    (adana.LogMuon, {"muon": True}, {"ns_steps": 2.5}, "ns_steps must be an integer"),
    (adana.LogMuon, {"muon": True}, {"ns_steps": True}, "ns_steps must be an integer"),
    (adana.LogMuon, {}, {"muon": "no"}, "muon must be True or False"),
    (adana.LogMuon, {}, {"muon": 1}, "muon must be True or False"),
    (adana.LogMuon, {"muon": True}, {"rms_scale": 0.0}, "rms_scale"),
    (adana.LogMuon, {"muon": True}, {"variant": "released"}, "variant"),
    (adana.Dana, {}, {"forget": 0.0}, "forget"),
    (adana.Dana, {}, {"forget": 1.5}, "forget"),
    (adana.Dana, {}, {"dimension": 0}, "dimension"),
    (adana.Dana, {}, {"kappa": -0.1}, "kappa"),
    (adana.Dana, {}, {"average": "no"}, "average must be True or False"),
    (AblatedADana, {}, {"gradient": "short"}, "gradient"),
    (AblatedADana, {}, {"momentum": "none"}, "momentum"),
    (AblatedADana, {}, {"beta2": 1.0}, "beta2"),
    (AblatedADana, {}, {"correction": "no"}, "correction must be True or False"),
    (AblatedADana, {}, {"average_beta": 1.0}, "average_beta"),
    (adana.ADana, {}, {"lr": "1e-3"}, r"^lr must be a finite number .* got '1e-3'"),
    (adana.ADana, {}, {"total_steps": "1000"}, "^total_steps must be a finite number"),
    (adana.ADana, {}, {"total_steps": math.inf}, "^total_steps must be a finite number"),
    (adana.ADana, {}, {"total_steps": torch.tensor(1000)}, "^total_steps must be a finite number"),
    (adana.ADana, T, {"omega": "4"}, "^omega must be a finite number"),
]


@pytest.mark.parametrize(("cls", "needed", "wrong", "name"), BAD)
def test_what_is_out_of_range_is_refused_by_name(cls, needed, wrong, name):
    with pytest.raises(ValueError, match=name):
        cls(parameters(), **{"lr": 1e-2, **needed, **wrong})


def hyper(optimizer, t):
    return optimizer.hyper(optimizer.param_groups[0], t)


def test_a_cooldown_shrinks_clipped_and_extra_momentum_alike_and_ends_at_zero():
    optimizer = adana.DanaMK4(
        parameters(), 1e-2, **T, momentum_cooldown=0.2, momentum_scale=3.0, clip_snr=0.5
    )
    middle, end = hyper(optimizer, 90), hyper(optimizer, 100)
    assert [h.momentum * h.clip for h in (hyper(optimizer, 80), middle)] == pytest.approx(
        [1.5, 0.75]
    )
    assert middle.extra == pytest.approx(1.5)
    assert middle.momentum == pytest.approx(1.5 * 91**0.15)
    assert (end.momentum, end.extra) == (0.0, 0.0)


def test_gamma_of_a_captured_learning_rate_is_cut_off_at_one():
    lr = torch.tensor(1e-2)
    optimizer = adana.ADana(parameters(), lr, capturable=True)
    lr.fill_(3e-2)
    assert optimizer.gamma(optimizer.param_groups[0]).item() == pytest.approx(1.0)


def test_log_muon_adds_undamped_momentum_and_decays_after_where_asked():
    (p,) = parameters(torch.float64, [(4, 4)])
    arguments = {"omega": 1.0, "decay_offset": 9.0, "muon": True}
    optimizer = adana.LogMuon([p], 1e-2, **arguments, extra_momentum=2.0, decay_order="after")
    theta, m = p.detach().clone(), torch.zeros_like(p)
    for t in range(1, 4):
        set_gradients([p], t)
        optimizer.step()
        m += 8 / (8 + t) * (p.grad - m)
        step = adana.optim.log_muon.orthogonal(p.grad + ((1 + t) ** 0.15 + 2) * m)
        theta = (theta - 1e-2 * 0.2 * 2 * step) * (1 - 1 / (9 + t))
    assert torch.allclose(p, theta, rtol=1e-5, atol=1e-6)


def test_adamws_moments_are_taken_over_without_their_bias_and_with_the_groups_delta():
    params = parameters(shapes=[(6,)])
    adamw = torch.optim.AdamW(params, lr=1e-2, betas=(0.9, 0.99))
    for step in range(3):
        set_gradients(params, step)
        adamw.step()
    saved = adamw.state[params[0]]
    optimizer = adana.ADana(params, 1e-3, delta=0.01)
    adana.load_adamw_state(optimizer, adamw.state_dict())
    state = optimizer.state[params[0]]
    assert state["step"] == 1  # delta beta / (1 - beta) = 0.99
    v = saved["exp_avg_sq"] / (1 - 0.99**3)
    m = saved["exp_avg"] / (1 - 0.9**3)
    assert torch.allclose(state["v"], v)
    assert torch.allclose(state["m"], m.clamp(-v.sqrt(), v.sqrt()))


@pytest.mark.parametrize("cls", [adana.DanaMK4, adana.DanaStarMK4])
@pytest.mark.parametrize("arguments", [{"momentum_scale": 0.0}, {"momentum_cooldown": 0.5}])
def test_no_clip_stays_finite_where_the_momentum_vanishes(cls, arguments):
    params = parameters(shapes=[(4,)])
    optimizer = cls(params, 1e-2, clip_snr=math.inf, total_steps=6, omega=0.1, **arguments)
    for step in range(8):
        set_gradients(params, step)
        optimizer.step()
    assert params[0].isfinite().all()


# --- arguments of other optimizers ----------------------------------------------------------------


def test_a_scheduler_that_cycles_the_momentum_of_an_ablation_is_told():
    optimizer = adana.optim.AblatedADana([p := parameters()[0]], lr=1e-3)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=10)
    p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match=r"overwritten momentum by 0.95.*cycle_momentum=False"):
        optimizer.step()


def test_weight_decay_is_refused_with_the_omega_to_pass_instead(make):
    with pytest.raises(TypeError, match="omega=3 "):
        make(parameters(), lr=1e-3, weight_decay=0.03, total_steps=100_000)
    with pytest.raises(TypeError, match="omega=0"):
        make(parameters(), weight_decay=0.0)
    with pytest.raises(ValueError, match="omega=3 "):
        make([{"params": parameters(), "weight_decay": 0.03}], lr=1e-3, total_steps=100_000)


def test_weight_decay_without_a_horizon_is_refused_with_the_formula():
    with pytest.raises(TypeError, match=r"omega = lr \* weight_decay \* total_steps"):
        adana.ADana(parameters(), 1e-3, weight_decay=0.1)


FOREIGN = {
    "betas": ((0.9, 0.95), "delta"),
    "amsgrad": (True, "Leave amsgrad out"),
    "fused": (True, "foreach"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_adamw_takes_and_a_member_does_not_is_refused_with_what_to_do(make, name):
    value, advice = FOREIGN[name]
    if name in make.cls.DEFAULTS:
        make(parameters(), **{name: value})
        return
    with pytest.raises(TypeError, match=f"{name}.*{advice}"):
        make(parameters(), **{name: value})


def test_groups_are_refused_what_the_constructor_is(make):
    for name, (value, _) in FOREIGN.items():
        if name not in make.cls.DEFAULTS:
            with pytest.raises(TypeError, match=name):
                make([{"params": parameters(), name: value}])


def test_a_name_in_a_group_that_looks_mistyped_is_told_and_others_are_left_alone():
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"has 'omgea', which ADana .* is 'omega' m") as told:
            adana.ADana([{"params": parameters(), "omgea": 0.0}], 1e-2)
        assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = dict.fromkeys(("name", "lr_scale", "initial_lr", "max_lr", "min_lr"), 1e-2)
        adana.ADana([{"params": parameters(), **names}], 1e-2)


def test_weight_decay_written_into_a_group_later_is_refused_before_anything_moved():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2, total_steps=100)
    set_gradients(params, 0)
    before = [p.detach().clone() for p in params]
    optimizer.param_groups[0]["weight_decay"] = 0.05
    with pytest.raises(ValueError, match=r"written weight_decay into a group; .* omega=0.05"):
        optimizer.step()
    assert all(p.equal(old) for p, old in zip(params, before, strict=True))
    optimizer.param_groups[0]["weight_decay"] = 0.0
    optimizer.step()


@pytest.mark.parametrize("rate", [math.nan, -1e-3])
def test_a_rate_that_is_no_rate_is_refused_at_the_step(rate):
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    set_gradients(params, 0)
    optimizer.param_groups[0]["lr"] = rate
    with pytest.raises(ValueError, match="expected a number of at least 0"):
        optimizer.step()
    assert not optimizer.state


def test_numbers_of_numpy_are_kept_as_pythons_and_read_again():
    numbers = {
        "total_steps": np.int64(1000), "omega": np.float64(3), "kappa": np.float32(0.75),
        "delta": np.float64(8), "lr": np.float64(1e-3), "seed": np.uint64(5),
    }  # fmt: skip
    optimizer = adana.ADana(parameters(), **numbers)
    mixed = adana.AdEMAMix(parameters(), 1e-3, total_steps=100, betas=[np.float64(0.9), 0.99])
    mixed.param_groups[0]["lr"] = np.float64(1e-3)  # as a schedule of one's own may
    for one in (optimizer, mixed):
        file = io.BytesIO()
        torch.save(one.state_dict(), file)
        file.seek(0)
        (group,) = torch.load(file, weights_only=True)["param_groups"]
        assert group["lr"] == pytest.approx(1e-3)
    assert optimizer.param_groups[0]["total_steps"] == 1000
    assert type(optimizer.param_groups[0]["kappa"]) is float


@pytest.mark.parametrize(("first", "then"), [("float", "double"), ("double", "bfloat16")])
def test_a_parameter_cast_in_the_middle_is_refused_before_anything_moved(first, then):
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)).to(DTYPES[first])
    params = list(model.parameters())
    optimizer = adana.ADana(params, 1e-2, total_steps=100)
    set_gradients(params, 0)
    optimizer.step()
    before = [p.detach().clone() for p in params[:2]]
    model[1].to(DTYPES[then])
    set_gradients(params, 1)
    with pytest.raises(RuntimeError, match=r"cast in the middle of training. Cast it back"):
        optimizer.step()
    assert all(p.equal(old) for p, old in zip(params[:2], before, strict=True))
    assert all(optimizer.state[p]["step"] == 1 for p in params)
    for p in params[2:]:
        optimizer.state.pop(p)
    optimizer.step()


@pytest.mark.parametrize("total_steps", [None, 1000])
def test_decay_that_no_group_has_can_be_given_as_the_refusal_says(total_steps):
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = adana.ADana([p], 1e-2, omega=0.0, total_steps=total_steps)
    with pytest.raises(ValueError, match=r"group.update\(omega=4.0, decay_offset=adana"):
        optimizer.reschedule(omega=4.0)
    (group,) = optimizer.param_groups
    offset = adana.schedules.default_decay_offset(4.0, total_steps)
    group.update(omega=4.0, decay_offset=offset)
    usual = adana.ADana([p], 1e-2, omega=4.0, total_steps=total_steps)
    assert optimizer.decay(group, 1) == usual.decay(usual.param_groups[0], 1) < 0.1


def test_what_cannot_be_rescheduled_says_how_it_is_changed():
    optimizer = adana.ADana(parameters(), 1e-2)
    for name, way in {"lr": r"group\['lr'\]", "state_dtype": "convert_states"}.items():
        with pytest.raises(ValueError, match=f"{name}.* cannot be rescheduled .*{way}"):
            optimizer.reschedule(**{name: 1})


def test_a_wrapper_is_told_to_pass_what_it_wraps():
    class Wrapper:
        optimizer = adana.ADana(parameters(), 1e-2)

    functions = (
        lambda x: adana.clip_grad_norm(x, 1.0), adana.release_gradients, adana.offload_states,
        lambda x: adana.convert_states(x, state_dtype="log16"),
        lambda x: adana.load_adamw_state(x, {}),
    )  # fmt: skip
    for function in functions:
        with pytest.raises(TypeError, match=r"It wraps one of ADana: pass its .optimizer"):
            function(Wrapper())


# --- tensors that the update does not work on -----------------------------------------------------

SPARSE = {
    "coo": lambda x: x.to_sparse(),
    "csr": lambda x: x.to_sparse_csr(),
    "csc": lambda x: x.to_sparse_csc(),
    "bsr": lambda x: x.to_sparse_bsr((2, 2)),
    "bsc": lambda x: x.to_sparse_bsc((2, 2)),
}
BETA = "ignore:Sparse .* tensor support is in beta"


@pytest.mark.filterwarnings(BETA)
@pytest.mark.parametrize("layout", SPARSE)
def test_sparse_parameters_are_refused_in_every_layout(make, layout):
    optimizer = make(parameters())
    p = torch.nn.Parameter(SPARSE[layout](torch.eye(4)))
    with pytest.raises(RuntimeError, match=r"layout torch\.sparse"):
        optimizer.add_param_group({"params": [p]})
    assert len(optimizer.param_groups) == 1


def refused_before_anything_moved(optimizer, params, match):
    before = [p.detach().clone() for p in params]
    with pytest.raises(RuntimeError, match=match):
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))
    assert not optimizer.state


@pytest.mark.filterwarnings(BETA)
@pytest.mark.parametrize("layout", SPARSE)
def test_sparse_gradients_are_refused_in_every_layout_before_anything_moved(make, layout):
    params = parameters(shapes=[(4, 4), (4, 4)])
    optimizer = make(params)
    set_gradients(params, 0)
    sparse = SPARSE[layout](torch.eye(4))
    if layout == "coo":
        params[1].grad = sparse
        refused_before_anything_moved(optimizer, params, "sparse gradients .*sparse_coo")
        return
    with pytest.raises(RuntimeError, match="different type"):  # torch lets no other one in
        params[1].grad = sparse


def test_complex_parameters_and_gradients_are_refused_before_anything_moved(make):
    with pytest.raises(RuntimeError, match="complex parameters"):
        make([torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))])
    params = parameters(shapes=[(2, 2), (2, 2)])
    optimizer = make(params)
    set_gradients(params, 0)
    if hasattr(params[1], "grad_dtype"):  # torch before 2.10 lets no other dtype in
        params[1].grad_dtype = None
        params[1].grad = torch.zeros(2, 2, dtype=torch.complex64)
        refused_before_anything_moved(optimizer, params, "complex gradients")
    params[1].grad = None
    params[1].data = params[1].data.to(torch.complex64)  # as module.to(torch.complex64) does
    params[1].grad = torch.zeros(2, 2, dtype=torch.complex64)
    refused_before_anything_moved(optimizer, params, "complex parameters")


def test_tensor_betas_of_adamw_are_taken():
    (p,) = parameters(shapes=[(3,)])
    betas = (torch.tensor(0.9), torch.tensor(0.95))
    adamw = torch.optim.AdamW([p], lr=torch.tensor(1e-3), betas=betas, foreach=False)
    p.grad = torch.ones(3)
    adamw.step()
    optimizer = adana.ADana([p], lr=1e-3)
    adana.load_adamw_state(optimizer, adamw.state_dict())
    assert torch.allclose(optimizer.state[p]["m"], torch.ones(3))


def test_an_average_in_the_wrong_place_says_where_it_goes():
    model = torch.nn.Linear(2, 2)
    average = torch.optim.swa_utils.AveragedModel(model, avg_fn=adana.log_time_average())
    average.update_parameters(model)
    with pytest.raises(TypeError, match=r"pass log_time_average.. as multi_avg_fn"):
        average.update_parameters(model)
