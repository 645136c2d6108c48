"""Log-time weight decay for optimizers of others, and averages of the weights."""

import copy
import warnings

import pytest
import torch

import adana
from adana import schedules

from .conftest import parameters, same, set_gradients


class ThirdParty(torch.optim.Optimizer):
    """An optimizer as others write them: it knows nothing of hooks, closures or weight decay."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(p.grad.sign(), alpha=-group["lr"])


MATRICES = [(3, 4), (5, 2)]
OTHERS = {
    "SGD": lambda ps: torch.optim.SGD(ps, lr=1e-2, momentum=0.9, weight_decay=0.1),
    "Muon": lambda ps: torch.optim.Muon(ps, lr=1e-2),
    "AdamW": lambda ps: torch.optim.AdamW(ps, lr=1e-2),
    "third party": lambda ps: ThirdParty(ps, lr=1e-2),
}


@pytest.fixture(params=list(OTHERS))
def other(request):
    """A function from parameters to an optimizer that is not of this package."""
    return OTHERS[request.param]


def decayed_by_hand(params, fraction):
    with torch.no_grad():
        for p in params:
            p.sub_(p, alpha=fraction)


def test_any_optimizer_decays_as_the_formula_says(other):
    ours, theirs = parameters(shapes=MATRICES), parameters(shapes=MATRICES)
    a = adana.with_log_time_decay(other(ours), omega=2.0, decay_offset=30)
    b = other(theirs)
    for group in b.param_groups:
        group["weight_decay"] = 0.0
    for step in range(4):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        a.step()
        decayed_by_hand(theirs, 2.0 / (30 + step + 1))
        b.step()
    assert same(ours, theirs)


def test_decay_follows_the_scheduler_and_is_independent_of_the_rate():
    (p,) = parameters(torch.float64, [(3,)])
    start = p.detach().clone()
    optimizer = adana.with_log_time_decay(
        torch.optim.SGD([p], lr=1e-9), omega=1.0, decay_offset=9.0
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (1 + k))
    for k in range(3):
        p.grad = torch.zeros_like(p)
        optimizer.step()
        scheduler.step()
        start *= 1 - schedules.log_time_decay(k + 1, 1.0, 9.0) / (1 + k)
    assert torch.allclose(p, start, rtol=1e-12)


def test_the_counter_is_saved_with_the_state_and_training_continues_alike(other):
    whole, stopped = parameters(shapes=MATRICES), parameters(shapes=MATRICES)

    def make(params):
        return adana.with_log_time_decay(other(params), total_steps=100)

    def train(optimizer, params, steps):
        for step in steps:
            set_gradients(params, step)
            optimizer.step()

    train(make(whole), whole, range(6))
    first = make(stopped)
    train(first, stopped, range(3))
    second = make(stopped)
    second.load_state_dict(first.state_dict())
    train(second, stopped, range(3, 6))
    assert same(whole, stopped)


def test_what_was_not_decayed_stays_so():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    optimizer = torch.optim.AdamW(adana.param_groups(model), lr=1e-3, weight_decay=0.1)
    adana.with_log_time_decay(optimizer, total_steps=100)
    assert [group["log_decay_omega"] for group in optimizer.param_groups] == [4.0, 0.0]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.0]


def test_parameters_without_gradient_do_not_decay():
    params = parameters(shapes=MATRICES)
    optimizer = adana.with_log_time_decay(torch.optim.SGD(params, lr=1e-2), total_steps=100)
    before = params[0].detach().clone()
    set_gradients(params, 0, missing={0})
    optimizer.step()
    assert torch.equal(params[0], before)


def test_decaying_twice_and_bad_values_are_refused():
    optimizer = adana.with_log_time_decay(torch.optim.SGD(parameters(), lr=1e-2))
    with pytest.raises(TypeError, match="already"):
        adana.with_log_time_decay(optimizer)
    with pytest.raises(TypeError, match="already"):
        adana.with_log_time_decay(adana.ADana(parameters(), 1e-2))
    for bad in ({"omega": -1.0}, {"decay_offset": 1.0}, {"total_steps": 0}, {"peak_lr": 0.0}):
        fresh = torch.optim.SGD(parameters(), lr=1e-2)
        with pytest.raises(ValueError, match=next(iter(bad))):
            adana.with_log_time_decay(fresh, **bad)
        assert "log_decay_t" not in fresh.param_groups[0]


def test_loading_a_state_without_decay_settings_is_said():
    plain = torch.optim.SGD(parameters(), lr=1e-2)
    optimizer = adana.with_log_time_decay(torch.optim.SGD(parameters(), lr=1e-2))
    optimizer.load_state_dict(plain.state_dict())
    set_gradients(optimizer.param_groups[0]["params"], 0)
    with pytest.raises(RuntimeError, match="with_log_time_decay"):
        optimizer.step()


def test_a_log_time_average_of_weights_has_a_mean_age_that_grows():
    """Averaging the counter itself shows the age: newest minus mean is n/(delta + 1)."""
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=adana.log_time_average(delta=4.0)
    )
    for n in range(200):
        model.weight.data.fill_(n)
        average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(199 - 199 / 5)


def test_averages_copy_integers_and_refuse_a_bad_delta():
    model = torch.nn.BatchNorm1d(2)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=adana.log_time_average(), use_buffers=True
    )
    model.num_batches_tracked.fill_(7)
    average.update_parameters(model)
    average.update_parameters(model)
    assert average.module.num_batches_tracked == 7
    with pytest.raises(ValueError, match="delta"):
        adana.log_time_average(0.0)


def test_a_closure_is_decayed_after_its_gradients_and_once(other):
    plain, closed = parameters(shapes=MATRICES), parameters(shapes=MATRICES)
    a = adana.with_log_time_decay(other(plain), total_steps=100)
    b = adana.with_log_time_decay(other(closed), total_steps=100)
    for step in range(3):
        set_gradients(plain, step)
        a.step()
        for p in closed:
            p.grad = None

        def closure(step=step):
            set_gradients(closed, step)
            return torch.tensor(1.0)

        if isinstance(b, ThirdParty):  # ignores its closure, as it may
            closure()
            b.step()
        elif step % 2:
            assert b.step(closure=closure) == 1.0
        else:
            assert b.step(closure) == 1.0
    assert same(plain, closed)


def test_a_step_that_a_scaler_skips_inside_a_fused_optimizer_does_not_decay():
    (p,) = parameters(shapes=[(4,)])
    before = p.detach().clone()
    optimizer = adana.with_log_time_decay(torch.optim.AdamW([p], lr=1e-2, fused=True))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(torch.tensor(1.0))
    p.grad = torch.full_like(p, float("inf"))
    scaler.step(optimizer)
    assert torch.equal(p, before)
    assert optimizer.param_groups[0]["log_decay_t"] == 0


def test_the_peak_survives_a_load_that_loses_what_the_scheduler_left():
    (p,) = parameters(shapes=[(3,)])
    optimizer = adana.with_log_time_decay(torch.optim.SGD([p], lr=1.0), total_steps=100)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5)
    p.grad = torch.zeros_like(p)
    optimizer.step()
    saved = optimizer.state_dict()
    for group in saved["param_groups"]:
        del group["initial_lr"]
    other = adana.with_log_time_decay(torch.optim.SGD([p], lr=0.5), total_steps=100)
    other.load_state_dict(saved)
    before = p.detach().clone()
    other.step()
    assert torch.allclose(p, before * (1 - 0.5 * schedules.log_time_decay(2, 4.0, 10.0)))


def test_a_learning_rate_above_its_peak_is_refused_before_anything_moves():
    (p,) = parameters(shapes=[(3,)])
    before = p.detach().clone()
    optimizer = adana.with_log_time_decay(torch.optim.SGD([p], lr=1e-3), total_steps=100)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 10.0)
    p.grad = torch.zeros_like(p)
    with pytest.raises(ValueError, match="peak_lr"):
        optimizer.step()
    assert torch.equal(p, before)


def test_a_copy_goes_on_decaying_once_it_is_told_to():
    (p,) = parameters(shapes=[(3,)])
    optimizer = adana.with_log_time_decay(torch.optim.SGD([p], lr=1e-2), total_steps=100)
    p.grad = torch.zeros_like(p)
    optimizer.step()
    clone = adana.with_log_time_decay(copy.deepcopy(optimizer))
    (twin,) = clone.param_groups[0]["params"]
    twin.grad = torch.zeros_like(twin)
    for each in (optimizer, clone):
        each.step()
    assert torch.equal(p, twin)
    assert clone.param_groups[0]["log_decay_t"] == 2


# --- decay that is too strong, or too weak to be seen ---------------------------------------------


def warnings_of(function):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        function()
    return [w for w in seen if "weight decay" in str(w.message)]


STRENGTHS = {
    "ADana": lambda **kw: adana.ADana(parameters(), 1e-2, **kw),
    "LogAdamW": lambda **kw: adana.LogAdamW(parameters(), 1e-2, **kw),
    "DanaStarMK4": lambda **kw: adana.DanaStarMK4(parameters(), 1e-2, **kw),
    "SGD": lambda **kw: adana.with_log_time_decay(torch.optim.SGD(parameters(), lr=1e-2), **kw),
}


@pytest.mark.parametrize("build", STRENGTHS.values(), ids=STRENGTHS)
def test_a_run_so_short_that_decay_erases_the_weights_warns_once_with_what_to_do(build):
    (warning,) = warnings_of(lambda: build(total_steps=12))
    assert "80%" in str(warning.message)
    assert "decay_offset" in str(warning.message)
    assert warning.filename == __file__
    for usual in ({}, {"total_steps": 200}, {"total_steps": 1000}, {"total_steps": 10**6}):
        assert not warnings_of(lambda usual=usual: build(**usual))
    for mended in ({"decay_offset": 20}, {"omega": 0.25}, {"omega": 0.0}):
        assert not warnings_of(lambda mended=mended: build(total_steps=12, **mended))


def test_constant_decay_of_a_short_run_warns_without_advice_on_an_offset_it_does_not_use():
    (warning,) = warnings_of(lambda: adana.AdEMAMix(parameters(), 1e-2, total_steps=12))
    assert "33%" in str(warning.message)
    assert "decay_offset" not in str(warning.message)


def decayed_alone(dtype, omega, steps=3):
    (p,) = parameters(dtype, [(1000,)])
    before = p.detach().clone()
    optimizer = torch.optim.SGD([p], lr=1e-2)
    adana.with_log_time_decay(optimizer, omega=omega, decay_offset=1000)
    for _ in range(steps):
        p.grad = torch.zeros_like(p)
        optimizer.step()
    return (p != before).float().mean().item()


@pytest.mark.parametrize(("dtype", "omega"), [(torch.bfloat16, 1.9), (torch.float16, 0.2)])
def test_decay_that_16_bit_weights_cannot_show_is_said_once(dtype, omega):
    (warning,) = warnings_of(lambda: decayed_alone(dtype, omega))
    assert "float32" in str(warning.message)
    with pytest.warns(UserWarning, match="lost in rounding"):
        assert decayed_alone(dtype, omega) == 0.0


@pytest.mark.parametrize(("dtype", "omega"), [(torch.bfloat16, 8.0), (torch.float32, 0.2)])
def test_decay_that_the_weights_can_show_is_not_warned_of(dtype, omega):
    assert not warnings_of(lambda: decayed_alone(dtype, omega))
    assert decayed_alone(dtype, omega) > 0.99


def stepped(optimizer, *params):
    set_gradients(params, 1)
    optimizer.step()


def test_groups_that_have_no_decay_yet_get_it_by_another_call():
    a, b = parameters(shapes=MATRICES)
    optimizer = torch.optim.AdamW([a], lr=0.1, weight_decay=0.1)
    adana.with_log_time_decay(optimizer, total_steps=1000)
    for _ in range(3):
        stepped(optimizer, a)
    optimizer.add_param_group({"params": [b]})
    before = [p.detach().clone() for p in (a, b)]
    with pytest.raises(RuntimeError, match=r"again.*Nothing has changed"):
        stepped(optimizer, a, b)
    assert same(before, [a, b])
    adana.with_log_time_decay(optimizer, omega=2.0, total_steps=1000)
    counters = [
        (group["log_decay_t"], group["log_decay_omega"]) for group in optimizer.param_groups
    ]
    assert counters == [(3, 4.0), (0, 2.0)]
    stepped(optimizer, a, b)
    assert [group["log_decay_t"] for group in optimizer.param_groups] == [4, 1]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.0]
    with pytest.raises(TypeError, match="already"):
        adana.with_log_time_decay(optimizer)


def test_a_state_saved_without_decay_settings_goes_on_where_it_was():
    (p,), (q,) = parameters(shapes=MATRICES[:1]), parameters(shapes=MATRICES[:1])
    plain = torch.optim.AdamW([p], lr=0.1, weight_decay=0.1)
    for _ in range(5):
        stepped(plain, p)
    optimizer = adana.with_log_time_decay(
        torch.optim.AdamW([q], lr=0.1, weight_decay=0.1), total_steps=1000
    )
    optimizer.load_state_dict(plain.state_dict())
    adana.with_log_time_decay(optimizer, total_steps=1000)
    (group,) = optimizer.param_groups
    assert (group["log_decay_t"], group["weight_decay"]) == (5, 0.0)
    stepped(optimizer, q)
    assert group["log_decay_t"] == 6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_average_that_would_stop_moving_is_refused_and_a_float32_copy_is_not(dtype):
    model = torch.nn.Linear(1, 1, bias=False, dtype=dtype)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=adana.log_time_average())
    average.update_parameters(model)  # copies
    with pytest.raises(ValueError, match="float32 copy"):
        average.update_parameters(model)
    if dtype == torch.float16:  # torch takes only bfloat16 weights beside float32 averages
        return
    wide = copy.deepcopy(model).float()
    average = torch.optim.swa_utils.AveragedModel(wide, multi_avg_fn=adana.log_time_average())
    for t in range(1000):
        model.weight.data.fill_(1 + t / 1000)
        average.update_parameters(model)
    assert abs(average.module.weight.item() - (1 + 8 / 9)) < 0.01
