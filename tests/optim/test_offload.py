"""States on the host: the same updates, whatever else is done, and no state on the device.

Models are on a pretended device, so that everything has to travel; `test_on_gpu.py` has the rest.
"""

import copy
import gc
import io
import weakref

import pytest
import torch
from torch import nn

import adana
from adana import schedules
from adana.optim import lanes, offload
from adana.optim.offload import OffloadedStates

from . import late_streams
from .conftest import CONFIGURATIONS, SOME_QUICK, parameters, same
from .elsewhere import DEVICE, Elsewhere, PretendedDevice
from .threads import one_thread
from .trainings import loss_of, train, train_by_closures

both = pytest.mark.parametrize("gradients", [False, True], ids=["states", "gradients"])
SHAPES = [(3, 4), (5,), (), (2, 0), (40, 30)]
KEPT = {
    "float32": {},
    "log16": {"state_dtype": "log16"},
    "split24": {"dtype": torch.bfloat16, "bf16_weights": "split24", "state_dtype": "fp24"},
}
"""Ways to keep states and weights."""


@pytest.fixture(params=SOME_QUICK)
def make(request):
    """A function from parameters (and overrides) to an optimizer; runs once per configuration."""
    return CONFIGURATIONS[request.param]


@pytest.fixture(autouse=True)
def device():
    """The pretended device."""
    with one_thread(), PretendedDevice() as it:
        yield it


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Let even small models travel in several parts."""
    monkeypatch.setattr(offload, "CHUNK", 16)


def away(params):
    """The same parameters on the pretended device."""
    return [nn.Parameter(p.detach().to(DEVICE)) for p in params]


def values(tensors):
    """The data of tensors, wherever they are."""
    return [x.inner if isinstance(x, Elsewhere) else x for x in tensors]


def states(optimizer, params):
    """All state tensors, in order."""
    return [x for p in params for x in optimizer.state[p].values()]


def pair(make=CONFIGURATIONS["adana"], *, dtype=torch.float32, gradients=False, **overrides):
    """An ordinary optimizer of parameters on the CPU, and one offloaded of the same elsewhere."""
    here = parameters(dtype, SHAPES)
    there = away(here)
    reference, optimizer = make(here, **overrides), make(there, **overrides)
    adana.offload_states(optimizer, gradients=gradients)
    return here, reference, there, optimizer


def assert_same_training(here, reference, there, optimizer):
    assert same(here, values(there))
    assert same(states(reference, here), states(optimizer, there))
    assert not any(isinstance(x, Elsewhere) for x in states(optimizer, there))


# --- the same updates -----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_offloaded_training_is_ordinary_training_to_the_bit(make, dtype, gradients):
    here, reference, there, optimizer = pair(make, dtype=dtype, gradients=gradients)
    train(reference, here, 5)
    train(optimizer, there, 5)
    assert_same_training(here, reference, there, optimizer)
    assert not same(here, parameters(dtype, SHAPES))


@pytest.mark.parametrize("weights", ["nearest", "split24", "split32"])
@pytest.mark.parametrize("kept", ["fp32", "bf16_sr", "fp24", "log16"])
def test_states_and_weights_in_fewer_bytes_are_the_same_too(kept, weights):
    settings = {"state_dtype": kept, "bf16_weights": weights, "dtype": torch.bfloat16}
    here, reference, there, optimizer = pair(CONFIGURATIONS["dana-star"], **settings)
    train(reference, here, 4)
    train(optimizer, there, 4)
    assert_same_training(here, reference, there, optimizer)


@pytest.mark.parametrize("settings", [{"foreach": True}, {"foreach": False}], ids=str)
def test_steps_without_a_kernel_are_the_same_too(make, settings):
    here, reference, there, optimizer = pair(make, **settings)
    train(reference, here, 3)
    train(optimizer, there, 3)
    assert_same_training(here, reference, there, optimizer)


@both
def test_groups_schedulers_and_changes_of_course_go_on_as_before(gradients):
    def groups(params):
        return [{"params": params[:2], "omega": 0.0}, {"params": params[2:], "lr": 3e-2}]

    here, reference, there, optimizer = pair(
        lambda params: adana.ADana(groups(params), 1e-2, total_steps=100), gradients=gradients
    )
    for params, either in ((here, reference), (there, optimizer)):
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            either, lambda k: schedules.warmup_cosine(k + 1, 8, 2)
        )
        train(either, params, 3, scheduler=scheduler)
        either.reschedule(total_steps=300, kappa=0.7)
        train(either, params, 3, start=3, scheduler=scheduler)
    assert_same_training(here, reference, there, optimizer)


@both
def test_clipping_and_telemetry_see_what_they_see_elsewhere(make, gradients):
    here, reference, there, optimizer = pair(make, gradients=gradients)
    found = []
    for params, either in ((here, reference), (there, optimizer)):
        norms = []
        with either.telemetry() as watch:
            train(
                either, params, 3,
                before_step=lambda o, norms=norms: norms.append(adana.clip_grad_norm(o, 1.0)),
            )  # fmt: skip
            found.append((values(norms), watch.read()))
    assert found[0] == found[1]
    assert len(found[0][1]) == len(SHAPES)
    assert_same_training(here, reference, there, optimizer)


@pytest.mark.parametrize("settings", [{}, {"fused": True}], ids=str)
def test_a_scaler_unscales_and_skips(settings):
    here, reference, there, optimizer = pair(**settings)
    for params, either in ((here, reference), (there, optimizer)):
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=100)
        for step in range(4):
            scaler.scale(torch.ones(()))  # a scaler for a device that torch does not know of
            loss_of(params, step, scale=scaler.get_scale()).backward()
            if step == 2:
                params[0].grad.view(-1)[3].fill_(torch.inf)
            scaler.step(either)
            scaler.update()
            either.zero_grad()
    assert reference.state[here[0]]["step"] == 3
    assert_same_training(here, reference, there, optimizer)


@both
def test_a_closure_is_called_before_the_step(gradients):
    here, reference, there, optimizer = pair(gradients=gradients)
    losses = train_by_closures(reference, here, 3)
    assert train_by_closures(optimizer, there, 3) == losses
    assert_same_training(here, reference, there, optimizer)


def test_released_gradients_are_used_in_backward():
    here, reference, there, optimizer = pair()
    adana.release_gradients(optimizer)
    train(reference, here, 4)
    train(optimizer, there, 4)
    assert_same_training(here, reference, there, optimizer)
    loss_of(there, 4).backward()
    assert [p.grad for p in there] == [None] * len(there)


def test_a_compiled_step_is_an_ordinary_one():
    ours, theirs = parameters(), parameters()
    optimizer, reference = adana.ADana(ours, 1e-2), adana.ADana(theirs, 1e-2)
    OffloadedStates(optimizer, copies=True)
    compiled = torch.compile(optimizer.step, backend="eager")
    for step in range(2):
        loss_of(ours, step).backward()
        compiled()
        optimizer.zero_grad()
    train(reference, theirs, 2)
    assert same(ours, theirs)


@both
def test_parameters_on_the_cpu_are_updated_where_they_are(gradients):
    ours, theirs = parameters(shapes=SHAPES), parameters(shapes=SHAPES)
    optimizer, reference = adana.ADana(ours, 1e-2), adana.ADana(theirs, 1e-2)
    handle = adana.offload_states(optimizer, gradients=gradients)
    train(optimizer, ours, 3)
    train(reference, theirs, 3)
    assert same(ours, theirs)
    assert handle._lane(ours[0]).download(ours[0]) is ours[0]


# --- copies beside what is computed ---------------------------------------------------------------


@pytest.fixture
def late(monkeypatch):
    """Copies on streams, as late as may be."""
    late_streams.install(monkeypatch)
    monkeypatch.setattr(offload, "lane", lambda device, copies: lanes.CudaLane(device))


WAYS = ["states", "gradients", "released"]


def travelling(way, settings):
    here, reference, there, optimizer = pair(gradients=way == "gradients", **settings)
    if way == "released":
        adana.release_gradients(optimizer)
    return here, reference, there, optimizer


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("settings", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_read_before_it_has_arrived(way, settings):
    here, reference, there, optimizer = travelling(way, settings)
    train(reference, here, 4)
    train(optimizer, there, 4)
    assert_same_training(here, reference, there, optimizer)


@pytest.mark.usefixtures("late")
def test_micro_batches_norms_and_removal_wait_for_what_travels():
    here, reference, there, optimizer = pair(gradients=True, foreach=True)
    norms = [], []
    for params, either in ((here, reference), (there, optimizer)):
        for step in range(3):
            for micro in range(3):
                loss_of(params, 10 * step + micro).backward()
            norms[params is there].append(adana.clip_grad_norm(either, 1.0).item())
            either.step()
            either.zero_grad()
        loss_of(params, 7).backward()
        if params is there:
            either.host.remove()
        either.step()
    assert norms[0] == norms[1]
    assert same(here, values(there))


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("flaw", ["arrival", "finish"])
def test_a_way_that_does_not_wait_would_be_noticed(way, flaw, monkeypatch):
    monkeypatch.setattr(lanes.CudaLane, flaw, getattr(lanes.Lane, flaw))
    here, reference, there, optimizer = travelling(way, {})
    train(reference, here, 2)
    train(optimizer, there, 2)
    assert not same(here, values(there))


# --- weights that somebody changes ----------------------------------------------------------------


def load(model, values):
    model.load_state_dict({str(i): x for i, x in enumerate(values)})


def through_data(model, values):
    for p, x in zip(model.parameters(), values, strict=True):
        p.data.copy_(x)  # no version counter of p moves


def by_other_memory(model, values):
    for p, x in zip(model.parameters(), values, strict=True):
        p.data = x.detach().clone()


@pytest.mark.parametrize("change", [load, through_data, by_other_memory])
def test_weights_that_were_changed_between_steps_are_those_of_the_next(change):
    ours, theirs = parameters(shapes=SHAPES), parameters(shapes=SHAPES)
    optimizer, reference = adana.ADana(ours, 1e-2), adana.ADana(theirs, 1e-2)
    OffloadedStates(optimizer, copies=True)
    for params, either in ((theirs, reference), (ours, optimizer)):
        train(either, params, 2)
        model = nn.ParameterList()
        model.extend(params)
        change(model, parameters(shapes=SHAPES, seed=1))
        train(either, params, 2, start=2)
    assert same(ours, theirs)


# --- gradients on the host ------------------------------------------------------------------------


def test_gradients_are_gone_after_backward_and_micro_batches_add_up():
    here, reference, there, optimizer = pair(gradients=True)
    for step in range(3):
        for micro in range(3):
            loss_of(here, 10 * step + micro).backward()
            loss_of(there, 10 * step + micro).backward()
            assert [p.grad for p in there] == [None] * len(there)
        reference.step()
        reference.zero_grad()
        optimizer.step()  # which forgets them
    assert_same_training(here, reference, there, optimizer)


def test_gradients_that_came_without_a_hook_are_used_too():
    here, reference, there, optimizer = pair(gradients=True)
    for params, either in ((here, reference), (there, optimizer)):
        new = nn.Parameter(torch.ones(2).to(params[0].device))
        either.add_param_group({"params": [new]})
        params.append(new)
        for step in range(2):
            loss_of(params, step).backward()
            by_hand = torch.ones_like(params[0])
            params[0].grad = by_hand if params is there else params[0].grad + by_hand
            either.step()
            either.zero_grad()
    assert_same_training(here, reference, there, optimizer)


def test_zero_grad_forgets_gradients():
    here, reference, there, optimizer = pair(gradients=True)
    loss_of(there, 7).backward()
    optimizer.zero_grad()
    train(reference, here, 2)
    train(optimizer, there, 2)
    assert_same_training(here, reference, there, optimizer)


def test_parameters_without_a_gradient_stay():
    _, _, there, optimizer = pair(gradients=True)
    before = [x.clone() for x in values(there)]
    loss_of(there[1:], 0).backward()
    optimizer.step()
    optimizer.step()  # of nothing
    assert torch.equal(there[0].inner, before[0])
    assert not torch.equal(there[4].inner, before[4])
    assert not optimizer.state[there[0]]
    assert optimizer.state[there[1]]["step"] == 1


class Fails(torch.autograd.Function):
    """Fails in backward."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ArithmeticError("no gradient for you")


@both
def test_an_exception_in_backward_leaves_weights_and_the_rest_to_zero_grad(gradients):
    here, reference, there, optimizer = pair(gradients=gradients)
    before = [x.clone() for x in values(there)]
    with pytest.raises(ArithmeticError, match="no gradient"):
        (loss_of(there[2:], 3) + Fails.apply(loss_of(there[:2], 3))).backward()
    assert same(before, values(there))
    optimizer.zero_grad()
    train(reference, here, 2)
    train(optimizer, there, 2)
    assert_same_training(here, reference, there, optimizer)


def test_a_step_that_was_refused_can_be_taken_again():
    here, reference, there, optimizer = pair(gradients=True)
    loss_of(there, 0).backward()
    optimizer.param_groups[0]["lr"] = 1.0
    with pytest.raises(ValueError, match="peak"):
        optimizer.step()
    optimizer.param_groups[0]["lr"] = 1e-2
    optimizer.step()
    train(reference, here, 1)
    assert_same_training(here, reference, there, optimizer)


def test_sparse_gradients_are_refused_in_backward():
    table = nn.Embedding(5, 3, sparse=True)
    optimizer = adana.ADana(table.parameters(), 1e-2, omega=0)
    adana.offload_states(optimizer, gradients=True)
    with pytest.raises(RuntimeError, match="sparse=False"):
        table(torch.tensor([1])).sum().backward()


def test_tied_weights_get_one_update_by_the_sum():
    def tied():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11, bias=False))
        model[2].weight = model[0].weight
        return model

    tokens = torch.arange(11)
    ordinary, offloaded = tied(), tied()
    for model in (ordinary, offloaded):
        optimizer = adana.ADana(model.parameters(), 1e-2, omega=0.1)
        if model is offloaded:
            OffloadedStates(optimizer, gradients=True, copies=True)
        for _ in range(4):
            nn.functional.cross_entropy(model(tokens), tokens.roll(1)).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert same(ordinary.parameters(), offloaded.parameters())


def test_nothing_keeps_a_dropped_optimizer_alive():
    _, _, there, optimizer = pair(gradients=True)
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None
    loss_of(there, 0).backward()
    assert all(p.grad is not None for p in there)


# --- checkpoints ----------------------------------------------------------------------------------


def saved_and_read(optimizer):
    """A state dict that went through a file."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file)


@pytest.mark.parametrize("settings", KEPT.values(), ids=KEPT)
def test_a_checkpoint_moves_from_offloaded_to_ordinary_and_back(settings):
    here, reference, there, optimizer = pair(**settings)
    settings = dict(settings)
    dtype = settings.pop("dtype", torch.float32)
    train(reference, here, 6)
    train(optimizer, there, 2)
    middle = [nn.Parameter(x.clone()) for x in values(there)]
    ordinary = adana.ADana(middle, 1e-2, **settings)
    ordinary.load_state_dict(saved_and_read(optimizer))
    train(ordinary, middle, 2, start=2)
    last = away(middle)
    again = adana.ADana(last, 1e-2, **settings)
    adana.offload_states(again)
    again.load_state_dict(saved_and_read(ordinary))
    train(again, last, 2, start=4)
    assert last[0].dtype == dtype
    assert_same_training(here, reference, last, again)


def test_a_state_dict_is_loaded_without_memory_of_the_device(device):
    here, reference, there, optimizer = pair()
    train(reference, here, 2)
    saved = reference.state_dict()
    before = device.peak = device.bytes
    optimizer.load_state_dict(saved)
    assert device.peak == before
    assert same(states(reference, here), states(optimizer, there))
    assert states(reference, here)[1] is not states(optimizer, there)[1]


def test_offloaded_state_dicts_are_loaded_onto_the_device():
    _, _, there, optimizer = pair()
    train(optimizer, there, 2)
    ordinary = adana.ADana(away(parameters(shapes=SHAPES)), 1e-2)
    ordinary.load_state_dict(optimizer.state_dict())
    for state in ordinary.state.values():
        assert isinstance(state["m"], Elsewhere)
        assert not isinstance(state["step"], Elsewhere)


@pytest.mark.parametrize("copied", [copy.deepcopy, "pickle"], ids=["deepcopy", "pickle"])
def test_a_copy_of_the_optimizer_is_an_ordinary_one(copied):
    if copied == "pickle":
        copied = through_pickle
    ours, theirs = parameters(), parameters()
    optimizer, reference = adana.ADana(ours, 1e-2), adana.ADana(theirs, 1e-2)
    adana.offload_states(optimizer, gradients=True)
    train(optimizer, ours, 2)
    train(reference, theirs, 4)
    another = copied(optimizer)
    assert another.host is None
    params = another.param_groups[0]["params"]
    train(another, params, 2, start=2)
    assert same(params, theirs)


def through_pickle(optimizer):
    file = io.BytesIO()
    torch.save(optimizer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_states_of_a_copy_are_beside_its_parameters():
    _, _, there, optimizer = pair()
    train(optimizer, there, 1)
    another = adana.ADana(there, 1e-2)
    another.__setstate__(optimizer.__getstate__() | {"state": dict(optimizer.state)})
    assert isinstance(another.state[there[0]]["m"], Elsewhere)


def test_adamw_states_and_exact_weights():
    here, reference, there, optimizer = pair(dtype=torch.bfloat16, bf16_weights="split32")
    train(reference, here, 2)
    train(optimizer, there, 2)
    models = [nn.ParameterList(), nn.ParameterList()]
    for model, params in zip(models, (here, there), strict=True):
        model.extend(params)
    ours = adana.float32_state_dict(models[1], optimizer)
    theirs = adana.float32_state_dict(models[0], reference)
    assert same(theirs.values(), ours.values())
    assert ours["0"].dtype == torch.float32

    here, reference, there, optimizer = pair()
    adamw = torch.optim.AdamW(parameters(shapes=SHAPES))
    train(adamw, adamw.param_groups[0]["params"], 2)
    for params, either in ((here, reference), (there, optimizer)):
        adana.load_adamw_state(either, adamw.state_dict())
        train(either, params, 1)
    assert_same_training(here, reference, there, optimizer)


# --- the handle -----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("block", [True, False], ids=["with", "remove"])
def test_a_removed_handle_leaves_an_ordinary_optimizer(block, gradients):
    here, reference, there, optimizer = pair(foreach=True, gradients=gradients)
    if block:
        with optimizer.host:
            train(optimizer, there, 2)
    else:
        handle = optimizer.host
        train(optimizer, there, 2)
        handle.remove()
        handle.remove()  # once more does nothing
    assert all(isinstance(optimizer.state[p]["m"], Elsewhere) for p in there)
    train(optimizer, there, 2, start=2)
    train(reference, here, 4)
    assert same(here, values(there))
    assert set(vars(optimizer)) == set(vars(reference))
    adana.offload_states(optimizer)  # and again, with states that are there
    train(optimizer, there, 1, start=4)
    train(reference, here, 1, start=4)
    assert_same_training(here, reference, there, optimizer)


def test_gradients_that_no_step_has_used_go_back():
    here, reference, there, optimizer = pair(foreach=True, gradients=True)
    loss_of(here, 0).backward()
    loss_of(there, 0).backward()
    optimizer.host.remove()
    assert same([p.grad for p in here], values(p.grad for p in there))
    assert all(isinstance(p.grad, Elsewhere) for p in there)
    optimizer.step()
    reference.step()
    assert same(here, values(there))


# --- what is refused ------------------------------------------------------------------------------


def test_other_optimizers_and_a_second_handle_are_refused():
    with pytest.raises(TypeError, match="AdamW"):
        adana.offload_states(torch.optim.AdamW(parameters()))
    optimizer = adana.ADana(parameters(), 1e-2)
    adana.offload_states(optimizer)
    with pytest.raises(RuntimeError, match="already"):
        adana.offload_states(optimizer)


def test_capturable_groups_are_refused_whenever_they_come():
    optimizer = adana.ADana(parameters(), 1e-2, capturable=True)
    with pytest.raises(ValueError, match="capturable"):
        adana.offload_states(optimizer)
    assert optimizer.host is None
    other = adana.ADana(parameters(), 1e-2)
    adana.offload_states(other)
    with pytest.raises(ValueError, match="capturable"):
        other.add_param_group({"params": [nn.Parameter(torch.ones(1))], "capturable": True})
    with pytest.raises(ValueError, match="capturable"):
        other.load_state_dict(optimizer.state_dict())


def test_gradients_go_one_way_only():
    optimizer = adana.ADana(parameters(), 1e-2)
    handle = adana.release_gradients(optimizer)
    with pytest.raises(RuntimeError, match="gradients=False"):
        adana.offload_states(optimizer, gradients=True)
    handle.remove()
    adana.offload_states(optimizer, gradients=True)
    with pytest.raises(RuntimeError, match="gradients=False"):
        adana.release_gradients(optimizer)


@pytest.mark.parametrize("unscale", [False, True])
def test_a_scaler_is_refused_where_gradients_are_on_the_host(unscale):
    ours, theirs = parameters(), parameters()
    optimizer, reference = adana.ADana(ours, 1e-2), adana.ADana(theirs, 1e-2)
    handle = adana.offload_states(optimizer, gradients=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(loss_of(ours, 0)).backward()
    if unscale:
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="gradients=False"):
        scaler.step(optimizer)
    optimizer.zero_grad()
    handle.remove()
    train(optimizer, ours, 1)  # the scaler has left nothing behind
    train(reference, theirs, 1)
    assert same(ours, theirs)


# --- memory ---------------------------------------------------------------------------------------

WIDTH, DEPTH = 64, 8


def bytes_of_a_step(device, *, offloaded, gradients=False):
    """Bytes on the device before a step, after it, and at most during it; and of the weights."""
    params = away(parameters(shapes=[(WIDTH, WIDTH)] * DEPTH))
    optimizer = adana.DanaStar(params, 1e-3, omega=0)
    if offloaded:
        adana.offload_states(optimizer, gradients=gradients)

    def step():
        x = torch.ones(2, WIDTH).to(DEVICE)
        for p in params:
            x = x @ p
        x.square().sum().backward()
        del x
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the state
    gc.collect()
    before = device.peak = device.bytes
    step()
    gc.collect()
    return before, device.bytes, device.peak, sum(p.nbytes for p in params)


@both
def test_the_device_holds_weights_and_no_state(device, gradients):
    before, after, peak, weights = bytes_of_a_step(device, offloaded=True, gradients=gradients)
    assert before == after == weights
    layer = weights / DEPTH
    few = 2 * layer  # a gradient, and another that takes its place
    assert peak < weights + (few if gradients else weights + few)


def test_an_ordinary_step_holds_three_states_beside_the_weights(device):
    before, after, peak, weights = bytes_of_a_step(device, offloaded=False)
    assert before == after == 4 * weights
    assert peak > 5 * weights
