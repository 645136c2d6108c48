"""State dicts: what is saved, what comes back, and what changes a run in the middle may make."""

import copy
import inspect
import io
import pickle
import warnings

import pytest
import torch

import adana
from adana import schedules
from adana.optim.scheduled import STATE_VERSION

from .conftest import CONFIGURATIONS, parameters, run, same, set_gradients


def through_a_file(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_integer_and_float32_state_survives_loading_beside_bf16_parameters():
    params = parameters(torch.bfloat16)
    optimizer = run(adana.ADana, params, 2, lr=1e-2)
    for p in params:
        optimizer.state[p]["codes"] = torch.full(p.shape, 1234, dtype=torch.int16)
    other = adana.ADana(parameters(torch.bfloat16), lr=1e-2)
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    for p, q in zip(params, other.param_groups[0]["params"], strict=True):
        for name in ("m", "v", "codes", "step"):
            before, after = optimizer.state[p][name], other.state[q][name]
            assert after.dtype == before.dtype
            assert torch.equal(after, before)


def test_a_capturable_optimizer_reads_the_counters_of_one_that_was_not(make):
    whole, stopped = parameters(), parameters()
    run(make, whole, 5)
    saved = through_a_file(run(make, stopped, 3).state_dict())
    for group in saved["param_groups"]:
        group["capturable"] = True
    again = make(stopped, capturable=True, lr=torch.tensor(1e-2))
    again.load_state_dict(saved)
    assert all(state["step"].dtype == torch.int64 for state in again.state.values())
    run(make, stopped, 2, start=3, optimizer=again)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, stopped, strict=True))


@pytest.mark.filterwarnings("ignore:the saved hyperparameters replace")
def test_the_state_dict_says_everything_and_nothing_of_the_maths_is_on_the_object(make):
    whole, other = parameters(), parameters(seed=1)
    optimizer = run(make, whole, 3)
    needed = {"total_steps": 50, "muon": True}
    needed = {k: v for k, v in needed.items() if k in make.cls.DEFAULTS}
    bare = make.cls(other, lr=0.5, **needed)  # knows nothing of the configuration
    bare.load_state_dict(through_a_file(optimizer.state_dict()))
    for p, q in zip(whole, other, strict=True):
        q.data.copy_(p.data)
    run(make, whole, 3, start=3, optimizer=optimizer)
    run(make, other, 3, start=3, optimizer=bare)
    assert same(whole, other)


SHARED_1 = {
    "lr": 1e-2, "peak_lr": 1e-2, "omega": 4.0, "total_steps": 100, "decay_offset": 10.0,
    "decay_order": "after", "foreach": None, "maximize": False, "peak_lr_explicit": False,
    "differentiable": False,
}  # fmt: skip
VERSION_1 = {
    "adana-released": {
        **SHARED_1, "eps": 1e-8, "kappa": 0.85, "delta": 8.0, "momentum_scale": 0.5,
        "variant": "released", "first_step": 1,
    },
    "adamw-log-decay-after": {
        **SHARED_1, "eps": 1e-6, "betas": (0.8, 0.95), "total_steps": None, "decay_offset": 400.0,
    },
}  # fmt: skip
"""The groups of the first release (commit 56a2222), without their parameters, by configuration."""


@pytest.mark.parametrize("name", VERSION_1)
def test_a_checkpoint_of_the_first_release_goes_on_unchanged(name):
    whole, stopped = parameters(), parameters()
    make = CONFIGURATIONS[name]
    run(make, whole, 5)
    saved = run(make, stopped, 3).state_dict()
    saved["param_groups"] = [{**VERSION_1[name], "params": saved["param_groups"][0]["params"]}]
    again = make.cls(stopped, lr=0.5)  # all that matters is in the checkpoint
    again.load_state_dict(through_a_file(saved))
    group = again.param_groups[0]
    assert group["version"] == STATE_VERSION
    assert group.get("extra_momentum", 1.0) == 1.0
    run(make, stopped, 2, start=3, optimizer=again)
    assert same(whole, stopped)


def test_a_checkpoint_of_a_newer_version_is_refused(make):
    params = parameters()
    saved = run(make, params, 1).state_dict()
    for group in saved["param_groups"]:
        group["version"] = STATE_VERSION + 1
    with pytest.raises(ValueError, match="newer adana"):
        make(params).load_state_dict(saved)


def test_parameters_may_appear_freeze_and_thaw_in_the_middle(make):
    params = parameters()
    optimizer = run(make, params[:2], 3)
    optimizer.add_param_group({"params": params[2:]})
    params[0].requires_grad_(False)
    frozen = params[0].detach().clone()
    for step in range(3, 6):
        set_gradients(params, step, missing={0})
        optimizer.step()
    assert torch.equal(params[0], frozen)
    params[0].requires_grad_(True)
    run(make, params, 2, start=6, optimizer=optimizer)
    assert [int(optimizer.state[p]["step"]) for p in params[:3]] == [5, 8, 5]


def test_loading_copies_so_that_a_snapshot_can_be_loaded_again(make):
    params = parameters()
    snapshot = run(make, params, 2).state_dict()
    first, second = parameters(), parameters()
    for twin in (first, second):
        optimizer = make(twin)
        optimizer.load_state_dict(snapshot)
        run(make, twin, 3, start=2, optimizer=optimizer)
    assert same(first, second)


def test_the_state_of_another_optimizer_is_refused_with_the_way_to_import_it():
    params = parameters()
    with pytest.raises(ValueError, match="load_adamw_state"):
        adana.ADana(params, 1e-3).load_state_dict(torch.optim.AdamW(params).state_dict())


def test_the_state_of_another_member_is_refused_and_that_of_a_base_class_is_not():
    params = parameters(shapes=[(2, 3)])
    saved = run(adana.ADana, params, 1, lr=1e-3).state_dict()
    for other in (adana.DanaStar(params, 1e-3), adana.LogMuon(params, 1e-3, muon=True)):
        with pytest.raises(ValueError, match="written by ADana"):
            other.load_state_dict(saved)

    class Mine(adana.ADana):
        pass

    mine = Mine(params, 1e-3)
    mine.load_state_dict(saved)
    assert mine.state[params[0]]["step"] == 1


def test_a_saved_hyperparameter_out_of_range_is_refused():
    params = parameters()
    saved = run(adana.ADana, params, 1, lr=1e-3).state_dict()
    saved["param_groups"][0]["kappa"] = 5.0
    with pytest.raises(ValueError, match="kappa"):
        adana.ADana(params, 1e-3).load_state_dict(saved)


def test_what_a_load_hook_returns_is_what_is_loaded():
    params = parameters(shapes=[(3,), (3,)])
    saved = run(adana.ADana, params, 2, lr=1e-3).state_dict()
    first, second = (saved["state"][i]["m"].clone() for i in (0, 1))
    other = adana.ADana(parameters(shapes=[(3,), (3,)]), 1e-3)

    def swap(_, state_dict):
        state = {0: state_dict["state"][1], 1: state_dict["state"][0]}
        return {**state_dict, "state": state}

    other.register_load_state_dict_pre_hook(swap)
    other.load_state_dict(saved)
    a, b = other.param_groups[0]["params"]
    assert torch.equal(other.state[a]["m"], second)
    assert torch.equal(other.state[b]["m"], first)


def test_groups_without_any_decay_are_refused_unless_that_is_meant():
    groups = [{"params": parameters(), "weight_decay": 0.0}]
    with pytest.raises(ValueError, match="param_groups"):
        adana.ADana(groups, 1e-3)
    assert adana.ADana(groups, 1e-3, omega=0.0).param_groups[0]["omega"] == 0.0
    more = [*groups, {"params": parameters(), "omega": 2.0}]
    assert [g["omega"] for g in adana.ADana(more, 1e-3).param_groups] == [0.0, 2.0]


def test_unknown_arguments_are_refused_with_the_known_ones(make):
    with pytest.raises(TypeError, match="kapa"):
        make(parameters(), kapa=0.85)


def test_the_signature_shows_every_hyperparameter(make):
    shown = set(inspect.signature(make.cls).parameters)
    assert {"params", "lr", "omega", "total_steps", "maximize", "capturable"} <= shown
    assert set(make.arguments) <= shown


# --- reschedule -----------------------------------------------------------------------------------


def test_rescheduling_the_horizon_moves_the_decay_offset_that_followed_it():
    optimizer = adana.ADana(parameters(), 1e-2, total_steps=1000)
    optimizer.reschedule(total_steps=5000)
    assert optimizer.param_groups[0]["decay_offset"] == 500
    optimizer = adana.ADana(parameters(), 1e-2, total_steps=1000, decay_offset=70)
    optimizer.reschedule(total_steps=5000, delta=4.0)
    assert optimizer.param_groups[0]["decay_offset"] == 70
    assert optimizer.hyper(optimizer.param_groups[0], 4).ema_m == 0.5


def test_decay_that_becomes_too_strong_is_warned_of():
    (p, q) = parameters(shapes=[(2,), (3,)])
    optimizer = adana.ADana([p], 1e-2, total_steps=1000)
    with pytest.warns(
        UserWarning, match=r"removes 67% of every weight in a step at the start"
    ) as told:
        optimizer.add_param_group({"params": [q], "decay_offset": 5.0})
    assert told[0].filename == __file__
    optimizer = adana.ADana([p], 1e-2, total_steps=1000)
    for _ in range(3):
        p.grad = torch.ones(2)
        optimizer.step()
    with pytest.warns(UserWarning, match=r"removes 50% of every weight in step 4, .*\(omega=4 and"):
        optimizer.reschedule(total_steps=20)
    for _ in range(40):
        optimizer.step()
    with warnings.catch_warnings(action="error"):
        optimizer.reschedule(total_steps=20)  # by now it takes little


def test_copies_take_new_groups_as_originals_do():
    (p, q) = parameters(shapes=[(2,), (3,)])
    optimizer = adana.ADana([p], 1e-2, total_steps=1000)
    for again in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        again.add_param_group({"params": [q]})
        assert len(again.param_groups) == 2


def test_rescheduling_keeps_groups_without_decay_without_it():
    decayed, spared = parameters(shapes=[(2,), (3,)])
    optimizer = adana.ADana([{"params": [decayed]}, {"params": [spared], "omega": 0.0}], 1e-2)
    optimizer.reschedule(omega=2.0)
    assert [group["omega"] for group in optimizer.param_groups] == [2.0, 0.0]


def test_rescheduling_out_of_range_changes_nothing():
    optimizer = adana.ADana(parameters(), 1e-2, total_steps=1000)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match="kappa"):
        optimizer.reschedule(omega=1.0, kappa=3.0)
    with pytest.raises(ValueError, match="lr"):
        optimizer.reschedule(lr=1.0)
    assert optimizer.state_dict()["param_groups"] == before["param_groups"]


def test_what_needs_averages_that_were_not_kept_cannot_be_rescheduled():
    optimizer = adana.LogAdEMAMix(parameters(), 1e-2, betas=(0.0, 0.99))
    with pytest.raises(ValueError, match="averages"):
        optimizer.reschedule(betas=(0.9, 0.99))
    with pytest.raises(ValueError, match="average"):
        adana.Dana(parameters(), 1e-2).reschedule(average=True)
    with pytest.raises(ValueError, match="omega"):
        adana.ADana(parameters(), 1e-2, omega=0.0).reschedule(omega=4.0)


def test_a_new_peak_can_be_set_after_a_scheduler_left_another():
    optimizer = adana.ADana(parameters(), 1e-3)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0)
    optimizer.param_groups[0]["lr"] = 5e-3
    optimizer.reschedule(peak_lr=1e-2)
    assert optimizer.gamma(optimizer.param_groups[0]) == 0.5


def test_one_peak_for_all_groups_is_in_proportion_to_their_learning_rates():
    a, b = parameters(shapes=[(2,), (3,)])
    groups = [{"params": [a]}, {"params": [b], "lr": 1e-4}]
    optimizer = adana.ADana(groups, 1e-3, peak_lr=1e-2)
    assert [optimizer.gamma(group) for group in optimizer.param_groups] == pytest.approx([0.1, 0.1])


def test_groups_of_different_peaks_get_new_ones_each():
    a, b = parameters(shapes=[(2,), (3,)])
    optimizer = adana.ADana([{"params": [a]}, {"params": [b], "lr": 1e-4}], 1e-3)
    with pytest.raises(ValueError, match=r"peaks are 0.001, 0.0001; pass one for each"):
        optimizer.reschedule(peak_lr=2e-3)
    with pytest.raises(ValueError, match="pass one for each"):
        optimizer.reschedule(peak_lr=[2e-3])
    optimizer.reschedule(peak_lr=[2e-3, 4e-4], total_steps=50)
    assert [optimizer.gamma(group) for group in optimizer.param_groups] == [0.5, 0.25]
    assert [group["total_steps"] for group in optimizer.param_groups] == [50, 50]


@pytest.mark.parametrize(("before", "after"), [("float32", "float64"), ("float64", "float32")])
def test_a_checkpoint_goes_on_in_another_precision(make, before, after):
    before, after = getattr(torch, before), getattr(torch, after)
    params = parameters(before)
    saved = run(make, params, 2).state_dict()
    others = [torch.nn.Parameter(p.detach().to(after)) for p in params]
    again = make(others)
    again.load_state_dict(saved)
    run(make, others, 2, start=2, optimizer=again)
    assert all(p.dtype == after and p.isfinite().all() for p in others)


def test_a_rescheduled_kappa_takes_the_default_clip_with_it():
    optimizer = adana.DanaMK4(parameters(), 1e-2)
    optimizer.reschedule(kappa=0.75)
    h = optimizer.hyper(optimizer.param_groups[0], 1)
    assert h.momentum * h.clip == pytest.approx(2.0)


# --- from AdamW -----------------------------------------------------------------------------------


def adamw_after(steps, betas=(0.9, 0.95)):
    params = parameters()
    optimizer = torch.optim.AdamW(params, lr=1e-2, betas=betas)
    for step in range(steps):
        set_gradients(params, step)
        optimizer.step()
    return params, optimizer


def test_adamws_state_goes_on_at_the_step_with_its_memory():
    params, adamw = adamw_after(200)
    optimizer = adana.ADana(params, 1e-3)
    adana.load_adamw_state(optimizer, through_a_file(adamw.state_dict()))
    for p in params:
        state, old = optimizer.state[p], adamw.state[p]
        assert state["step"] == 152  # delta beta / (1 - beta)
        assert torch.allclose(state["v"], old["exp_avg_sq"] / (1 - 0.95**200))
        assert (state["m"].abs() <= state["v"].sqrt()).all()
        assert state["m"].dtype == torch.float32
    run(adana.ADana, params, 2, optimizer=optimizer)
    assert optimizer.state[params[0]]["step"] == 154


def test_a_young_adamw_goes_on_at_its_own_step_and_a_given_step_wins():
    params, adamw = adamw_after(5)
    for step, expected in ((None, 5), (77, 77)):
        optimizer = adana.ADana(params, 1e-3)
        adana.load_adamw_state(optimizer, adamw.state_dict(), step=step)
        assert optimizer.state[params[0]]["step"] == expected


def test_a_state_that_is_not_adamws_is_refused_and_changes_nothing():
    params, adamw = adamw_after(2)
    optimizer = adana.ADana(params, 1e-3)
    sgd = torch.optim.SGD(params, lr=0.1).state_dict()
    with pytest.raises(ValueError, match="betas"):
        adana.load_adamw_state(optimizer, sgd)
    with pytest.raises(ValueError, match="same parameters"):
        adana.load_adamw_state(adana.ADana(params[:2], 1e-3), adamw.state_dict())
    with pytest.raises(ValueError, match="shape"):
        adana.load_adamw_state(adana.ADana(params[::-1], 1e-3), adamw.state_dict())
    with pytest.raises(ValueError, match="tau"):
        adana.load_adamw_state(adana.DanaStar(params, 1e-3), adamw.state_dict())
    with pytest.raises(ValueError, match="twice"):
        adana.load_adamw_state(adana.LogAdamW(params, 1e-3), adamw.state_dict())
    for step in (0, -5):
        with pytest.raises(ValueError, match="step"):
            adana.load_adamw_state(optimizer, adamw.state_dict(), step=step)
    assert not optimizer.state


class Bigram(torch.nn.Module):
    """Whose parameters come in another order from `param_groups`: both have one shape."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(6, 6), torch.nn.Linear(6, 6, bias=False)

    def forward(self, x):
        return self.head(self.embed(x))


def trained_by_adamw(params):
    model = Bigram()
    adamw = torch.optim.AdamW(params(model), lr=1e-2)
    for _ in range(5):
        adamw.zero_grad()
        model(torch.arange(6)).square().sum().backward()
        adamw.step()
    return model, adamw


def assert_own_averages(model, optimizer, adamw):
    for p in model.parameters():
        expected = adamw.state[p]["exp_avg_sq"] / (1 - 0.999**5)
        assert torch.allclose(optimizer.state[p]["v"], expected)


def test_adamws_state_finds_its_parameters_by_their_names():
    model, adamw = trained_by_adamw(lambda model: model.named_parameters())
    compiled = torch.compile(model)  # whose names have a prefix
    for whole in (model, compiled):
        optimizer = adana.ADana(adana.param_groups(whole, names=True), 1e-3)
        assert optimizer.param_groups[0]["params"] == [model.head.weight]
        adana.load_adamw_state(optimizer, adamw.state_dict())
        assert_own_averages(model, optimizer, adamw)
    other = adana.ADana([("embed.weight", model.embed.weight), ("tail", model.head.weight)], 1e-3)
    with pytest.raises(ValueError, match=r"no parameter 'head.weight'"):
        adana.load_adamw_state(other, adamw.state_dict())
    assert not other.state


def test_adamws_state_finds_its_parameters_by_the_order_that_is_said():
    model, adamw = trained_by_adamw(lambda model: model.parameters())
    optimizer = adana.ADana(adana.param_groups(model), 1e-3)
    adana.load_adamw_state(optimizer, adamw.state_dict(), parameters=model.parameters())
    assert_own_averages(model, optimizer, adamw)
    other = torch.nn.Parameter(torch.ones(6, 6))
    for wrong, message in (
        ([model.head.weight], "2 parameters, not 1"),
        ([model.head.weight, other], "1 that the optimizer does not have"),
        ([model.head.weight] * 2, "1 of the optimizer's 2 parameters have no place"),
    ):
        with pytest.raises(ValueError, match=message):
            adana.load_adamw_state(optimizer, adamw.state_dict(), parameters=wrong)


@pytest.mark.parametrize("names", [True, False])
def test_adamws_state_of_what_is_trained_goes_to_an_optimizer_of_all(names):
    model = Bigram()
    model.embed.requires_grad_(False)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    adamw = torch.optim.AdamW(trained if names else [p for _, p in trained], lr=1e-2)
    model(torch.arange(6)).square().sum().backward()
    adamw.step()
    optimizer = adana.ADana(adana.param_groups(model, names=names), 1e-3)
    adana.load_adamw_state(optimizer, adamw.state_dict())
    assert set(optimizer.state) == {model.head.weight}
    assert optimizer.state[model.head.weight]["v"].any()


def test_what_is_no_state_dict_or_no_optimizer_of_ours_is_named():
    model, adamw = trained_by_adamw(lambda model: model.parameters())
    optimizer = adana.ADana(model.parameters(), 1e-3)
    with pytest.raises(ValueError, match=r"type AdamW: pass what adamw.state_dict\(\)"):
        adana.load_adamw_state(optimizer, adamw)
    with pytest.raises(TypeError, match="not by AdamW"):
        adana.load_adamw_state(adamw, adamw.state_dict())
    with pytest.raises(ValueError, match="step must be an integer"):
        adana.load_adamw_state(optimizer, adamw.state_dict(), step=1.5)


def test_matching_memory_means_the_next_gradient_weighs_what_it_did():
    assert schedules.ema_weight(schedules.matching_step(0.999)) == pytest.approx(1e-3)


def test_groups_added_later_have_the_new_course():
    a, b, c = parameters(shapes=[(2, 2)] * 3)
    optimizer = adana.ADana([a], lr=1e-3, total_steps=1000)
    optimizer.reschedule(total_steps=10_000, omega=2.0, kappa=0.8)
    optimizer.add_param_group({"params": [b]})
    optimizer.add_param_group({"params": [c], "omega": 0.0})
    numbers = ("total_steps", "omega", "kappa", "decay_offset")
    first, second, third = ([group[x] for x in numbers] for group in optimizer.param_groups)
    assert first == second == [10_000, 2.0, 0.8, 1000]
    assert third[:3] == [10_000, 0.0, 0.8]


# --- loading into another optimizer ---------------------------------------------------------------


def test_parameters_are_found_by_name_where_both_have_names():
    params = dict(zip("abc", parameters(shapes=[(3,), (3,), (2,)]), strict=True))
    optimizer = adana.ADana(list(params.items()), lr=1e-2)
    run(None, list(params.values()), 2, optimizer=optimizer)
    turned = [("_orig_mod." + name, params[name]) for name in "cba"]
    again = adana.ADana(turned, lr=1e-2)
    again.load_state_dict(through_a_file(optimizer.state_dict()))
    for p in params.values():
        assert torch.equal(again.state[p]["m"], optimizer.state[p]["m"])
    assert again.param_groups[0]["param_names"] == ["c", "b", "a"]


def test_names_in_other_groups_are_refused():
    a, b = parameters(shapes=[(3,), (3,)])
    optimizer = adana.ADana([{"params": [("a", a)]}, {"params": [("b", b)]}], lr=1e-2)
    again = adana.ADana([{"params": [("b", b)]}, {"params": [("a", a)]}], lr=1e-2)
    with pytest.raises(ValueError, match="parameter b is in group 1 of the state dict"):
        again.load_state_dict(optimizer.state_dict())


def test_a_state_of_another_shape_is_refused_before_anything_is_loaded():
    saved = run(adana.ADana, parameters(shapes=[(3,), (6, 4)]), 2, lr=1e-2).state_dict()
    params = parameters(shapes=[(3,), (8, 4)])
    optimizer = run(adana.ADana, params, 1, lr=1e-2)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"shape \(6, 4\).*\(8, 4\)"):
        optimizer.load_state_dict(saved)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all(torch.equal(after["state"][i]["m"], before["state"][i]["m"]) for i in (0, 1))


def test_a_course_that_loading_replaces_is_said_with_what_to_do():
    saved = run(adana.ADana, parameters(), 2, lr=1e-2, total_steps=100).state_dict()
    optimizer = adana.ADana(parameters(), lr=3e-2, total_steps=400, kappa=0.8)
    advice = r"kappa=0.8 \(saved: 0.85\).*optimizer.reschedule\(total_steps=400, kappa=0.8\)"
    with pytest.warns(UserWarning, match=advice):
        optimizer.load_state_dict(saved)
    optimizer.reschedule(total_steps=400, kappa=0.8)
    assert optimizer.param_groups[0]["decay_offset"] == 40


def test_values_of_a_group_s_own_that_loading_replaces_are_said_too():
    def built(**own):
        a, b = parameters(shapes=[(3,), (3,)])
        groups = [{"params": [a]}, {"params": [b], **own}]
        return adana.ADana(groups, lr=1e-2, total_steps=100, decay_offset=20)

    optimizer = built()
    with warnings.catch_warnings(action="error"):
        optimizer.load_state_dict(built().state_dict())
    saved = adana.ADana(parameters(shapes=[(3,), (3,)]), lr=1e-2, total_steps=100).state_dict()
    saved["param_groups"] = [{**saved["param_groups"][0], "params": [i]} for i in (0, 1)]
    optimizer = built(delta=16.0)
    said = (
        r"decay_offset=20 \(saved: 10.0\), delta=16.0 of param_groups\[1\] \(saved: 8.0\)\. .* "
        r"call optimizer.reschedule\(decay_offset=20\); optimizer.param_groups\[1\]\['delta'\] = 16"
    )
    with pytest.warns(UserWarning, match=said):
        optimizer.load_state_dict(saved)


def test_loading_what_was_saved_of_the_same_course_says_nothing(make):
    saved = run(make, parameters(), 2).state_dict()
    optimizer = make(parameters())
    with warnings.catch_warnings(action="error"):
        optimizer.load_state_dict(saved)
