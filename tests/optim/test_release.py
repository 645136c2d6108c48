"""Gradients released in backward: the same updates, less memory, and what is refused."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

import adana
from adana import schedules

from .conftest import parameters, same
from .trainings import loss_of, train, train_by_closures


def states(optimizer, params):
    """All state tensors, in order."""
    return [x for p in params for x in optimizer.state[p].values()]


# --- the same updates -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_released_training_is_ordinary_training_to_the_bit(make, dtype):
    ordinary, released = parameters(dtype), parameters(dtype)
    reference, optimizer = make(ordinary), make(released)
    adana.release_gradients(optimizer)
    train(reference, ordinary, 6)
    train(optimizer, released, 6)
    assert same(ordinary, released)
    assert same(states(reference, ordinary), states(optimizer, released))
    assert not same(ordinary, parameters(dtype))


@pytest.mark.parametrize("large", [(300, 300), (600_000,)], ids=["pieces", "slices"])
def test_parameters_that_are_cut_or_share_a_piece_are_updated_alike(make, large):
    shapes = [(7, 9), large, (33,), (40, 50)]
    ordinary, released = parameters(shapes=shapes), parameters(shapes=shapes)
    reference, optimizer = make(ordinary), make(released)
    adana.release_gradients(optimizer)
    train(reference, ordinary, 2)
    train(optimizer, released, 2)
    assert same(ordinary, released)


def test_capturable_steps_are_released_too(make):
    ordinary, released = parameters(), parameters()
    reference, optimizer = make(ordinary, capturable=True), make(released, capturable=True)
    adana.release_gradients(optimizer)
    train(reference, ordinary, 4)
    train(optimizer, released, 4)
    assert same(ordinary, released)


def scheduled(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: schedules.warmup_cosine(k + 1, 8, 2)
    )


@pytest.mark.filterwarnings("error:Detected call of")
def test_a_scheduler_goes_on_as_before():
    ordinary, released = parameters(), parameters()
    reference, optimizer = (adana.DanaStarMK4(ps, 1e-2) for ps in (ordinary, released))
    adana.release_gradients(optimizer)
    train(reference, ordinary, 8, scheduler=scheduled(reference))
    train(optimizer, released, 8, scheduler=scheduled(optimizer))
    assert same(ordinary, released)


def test_groups_keep_their_own_hyperparameters():
    def two_groups(params):
        groups = [{"params": params[:2], "omega": 0.0}, {"params": params[2:], "lr": 3e-2}]
        return adana.ADana(groups, 1e-2, total_steps=100)

    ordinary, released = parameters(), parameters()
    reference, optimizer = two_groups(ordinary), two_groups(released)
    adana.release_gradients(optimizer)
    train(reference, ordinary, 4)
    train(optimizer, released, 4)
    assert same(ordinary, released)


def test_a_loaded_state_goes_on_released():
    ordinary, released = parameters(), parameters()
    reference, optimizer = (adana.ADana(ps, 1e-2) for ps in (ordinary, released))
    adana.release_gradients(optimizer)
    train(reference, ordinary, 5)
    train(optimizer, released, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    resumed = [nn.Parameter(p.detach().clone()) for p in released]
    second = adana.ADana(resumed, 5e-2)
    adana.release_gradients(second)
    second.load_state_dict(saved)
    train(second, resumed, 2, start=3)
    assert same(ordinary, resumed)


def test_a_closure_updates_as_it_runs_backward():
    ordinary, released = parameters(), parameters()
    reference, optimizer = (adana.ADana(ps, 1e-2) for ps in (ordinary, released))
    adana.release_gradients(optimizer)
    losses = train_by_closures(reference, ordinary, 3)
    assert train_by_closures(optimizer, released, 3) == losses
    assert same(ordinary, released)


def test_tied_weights_get_one_update_by_the_sum():
    def tied():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11, bias=False))
        model[2].weight = model[0].weight
        return model

    tokens = torch.arange(11)
    ordinary, released = tied(), tied()
    for model in (ordinary, released):
        optimizer = adana.ADana(model.parameters(), 1e-2, omega=0.1)
        if model is released:
            adana.release_gradients(optimizer)
        for _ in range(4):
            nn.functional.cross_entropy(model(tokens), tokens.roll(1)).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert optimizer.state[model[0].weight]["step"] == 4
    assert same(ordinary.parameters(), released.parameters())


# --- what step does -------------------------------------------------------------------------------


def test_gradients_are_gone_after_backward_and_step_is_what_is_left():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    handle = adana.release_gradients(optimizer)
    loss_of(params[1:], 0).backward()
    assert [p.grad for p in params] == [None] * len(params)
    assert set(handle.updated) == set(params[1:])
    params[0].grad = torch.ones_like(params[0])  # by hand: no hook runs
    before = [p.detach().clone() for p in params]
    optimizer.step()
    assert not torch.equal(params[0], before[0])
    assert same(params[1:], before[1:])
    assert {int(optimizer.state[p]["step"]) for p in params} == {1}
    assert handle.updated == []


def test_parameters_that_need_a_gradient_only_later_are_left_to_step():
    params = parameters(shapes=[(3,), (4,)])
    params[0].requires_grad_(False)
    optimizer = adana.ADana(params, 1e-2)
    adana.release_gradients(optimizer)
    params[0].requires_grad_(True)
    added = nn.Parameter(torch.ones(2))
    optimizer.add_param_group({"params": [added]})
    train(optimizer, [*params, added], 2)
    assert {int(optimizer.state[p]["step"]) for p in (*params, added)} == {2}


@pytest.mark.parametrize("block", [True, False], ids=["with", "remove"])
def test_a_removed_handle_leaves_an_ordinary_optimizer(block):
    ordinary, released = parameters(), parameters()
    reference, optimizer = (adana.ADana(ps, 1e-2) for ps in (ordinary, released))
    if block:
        with adana.release_gradients(optimizer):
            train(optimizer, released, 2)
    else:
        handle = adana.release_gradients(optimizer)
        train(optimizer, released, 2)
        handle.remove()
        handle.remove()  # once more does nothing
    loss_of(released, 2).backward()
    assert all(p.grad is not None for p in released)
    optimizer.zero_grad()
    train(optimizer, released, 2, start=2)
    train(reference, ordinary, 4)
    assert same(ordinary, released)
    assert set(vars(optimizer)) == set(vars(reference))
    adana.release_gradients(optimizer)  # and again


def test_nothing_keeps_a_dropped_optimizer_and_its_model_alive():
    model = nn.Linear(3, 2)
    optimizer = adana.ADana(model.parameters(), 1e-2, omega=0)
    adana.release_gradients(optimizer)
    model(torch.ones(1, 3)).sum().backward()
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None
    model(torch.ones(1, 3)).sum().backward()
    assert model.weight.grad is not None
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


# --- accumulation ---------------------------------------------------------------------------------


def test_accumulated_gradients_make_one_step():
    ordinary, released = parameters(), parameters()
    reference, optimizer = (adana.ADana(ps, 1e-2) for ps in (ordinary, released))
    handle = adana.release_gradients(optimizer)
    for step in range(3):
        for micro in range(3):
            loss_of(ordinary, 10 * step + micro).backward()
        reference.step()
        reference.zero_grad()
        with handle.accumulate():
            for micro in range(2):
                loss_of(released, 10 * step + micro).backward()
        assert all(p.grad is not None for p in released)
        loss_of(released, 10 * step + 2).backward()
        assert all(p.grad is None for p in released)
        optimizer.step()
    assert same(ordinary, released)
    assert optimizer.state[released[0]]["step"] == 3


def test_a_parameter_that_the_last_micro_batch_misses_is_left_to_step():
    ordinary, released = parameters(), parameters()
    reference, optimizer = (adana.ADana(ps, 1e-2) for ps in (ordinary, released))
    handle = adana.release_gradients(optimizer)
    loss_of(ordinary, 0).backward()
    loss_of(ordinary[1:], 1).backward()
    reference.step()
    with handle.accumulate():
        loss_of(released, 0).backward()
    loss_of(released[1:], 1).backward()
    assert released[0].grad is not None
    optimizer.step()
    assert same(ordinary, released)


def test_a_second_backward_without_accumulating_is_an_error_that_changes_nothing():
    params = parameters(shapes=[(3,), (4,)])
    optimizer = adana.ADana(params, 1e-2)
    adana.release_gradients(optimizer)
    loss_of(params, 0).backward()
    before = [p.detach().clone() for p in params]
    with pytest.raises(RuntimeError, match=r"second gradient .* handle.accumulate\(\)"):
        loss_of(params, 1).backward()
    assert same(params, before)
    assert {int(optimizer.state[p]["step"]) for p in params} == {1}


def test_checkpointed_blocks_work_and_reentrant_ones_that_share_weights_are_refused():
    layer = nn.Linear(4, 4)
    optimizer = adana.ADana(layer.parameters(), 1e-2, omega=0)
    adana.release_gradients(optimizer)
    x = torch.ones(2, 4, requires_grad=True)
    checkpoint = torch.utils.checkpoint.checkpoint
    for reentrant in (False, True):
        y = checkpoint(
            layer, checkpoint(layer, x, use_reentrant=reentrant), use_reentrant=reentrant
        )
        if reentrant:
            with pytest.raises(RuntimeError, match="use_reentrant=False"):
                y.sum().backward()
        else:
            y.sum().backward()
            optimizer.step()
            assert optimizer.state[layer.weight]["step"] == 1


# --- errors ---------------------------------------------------------------------------------------


class Fails(torch.autograd.Function):
    """Fails in backward."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ArithmeticError("no gradient for you")


def test_after_an_exception_in_backward_the_part_that_was_done_is_known():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    params = [*first.parameters(), *second.parameters()]
    optimizer = adana.ADana(params, 1e-2, omega=0)
    handle = adana.release_gradients(optimizer)
    x = torch.randn(5, 3)
    before = [p.detach().clone() for p in params]
    with pytest.raises(ArithmeticError, match="no gradient"):
        second(Fails.apply(first(x))).sum().backward()
    assert set(handle.updated) == set(second.parameters())
    assert same(params[:2], before[:2])
    assert not same(params[2:], before[2:])
    with pytest.raises(RuntimeError, match=r"optimizer.zero_grad\(\), optimizer.step\(\)"):
        second(first(x)).sum().backward()
    optimizer.zero_grad()
    optimizer.step()
    second(first(x)).sum().backward()
    optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in params] == [1, 1, 2, 2]


def test_a_learning_rate_above_its_peak_stops_backward_before_anything_moved():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    handle = adana.release_gradients(optimizer)
    optimizer.param_groups[0]["lr"] = 1.0
    before = [p.detach().clone() for p in params]
    with pytest.raises(ValueError, match="peak"):
        loss_of(params, 0).backward()
    assert same(params, before)
    assert handle.updated == []


def test_other_optimizers_are_refused():
    with pytest.raises(TypeError, match="AdamW"):
        adana.release_gradients(torch.optim.AdamW(parameters()))


def test_a_second_release_is_refused():
    optimizer = adana.ADana(parameters(), 1e-2)
    adana.release_gradients(optimizer)
    with pytest.raises(RuntimeError, match="already"):
        adana.release_gradients(optimizer)


def test_a_limit_on_the_norm_of_all_gradients_is_refused():
    optimizer = adana.ADana([{"params": parameters(), "max_norm": 1.0}], 1e-2)
    with pytest.raises(ValueError, match=r"max_norm=1\.0.* known only after backward"):
        adana.release_gradients(optimizer)


@pytest.mark.parametrize("unscale", [False, True])
def test_a_grad_scaler_is_refused_at_its_first_step(unscale):
    params = parameters(shapes=[(8,)])
    optimizer = adana.ADana(params, 1e-2)
    handle = adana.release_gradients(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(loss_of(params, 0)).backward()
    if unscale:
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="train in bfloat16 without a scaler"):
        scaler.step(optimizer)
    handle.remove()
    optimizer.step()  # the scaler has left nothing behind


def test_a_scaler_that_is_switched_off_changes_nothing():
    params = parameters(shapes=[(8,)])
    optimizer = adana.ADana(params, 1e-2)
    adana.release_gradients(optimizer)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    scaler.scale(loss_of(params, 0)).backward()
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.state[params[0]]["step"] == 1


# --- memory ---------------------------------------------------------------------------------------

WIDTH, DEPTH = 128, 16


def chain():
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)))


def peak_of_a_step(released):
    """The most bytes allocated at once in forward, backward and step, and of all gradients."""
    model = chain()
    optimizer = adana.ADana(model.parameters(), 1e-3, omega=0)
    if released:
        adana.release_gradients(optimizer)

    def step():
        model(torch.ones(2, WIDTH)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the state
    with torch.profiler.profile(profile_memory=True) as profile:
        step()
    now = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak, sum(p.nbytes for p in model.parameters())


def test_a_step_needs_memory_for_a_few_gradients_instead_of_all():
    ordinary, gradients = peak_of_a_step(released=False)
    released, _ = peak_of_a_step(released=True)
    layer = gradients / DEPTH
    assert ordinary > gradients
    assert ordinary - released > gradients - 3 * layer


@pytest.mark.parametrize("released", [True, False])
def test_one_gradient_is_alive_at_a_time_instead_of_all(released):
    model = chain()
    alive, most = {}, 0

    def look(p):
        nonlocal most
        alive[p] = p.grad.nbytes
        weakref.finalize(p.grad, alive.pop, p)
        most = max(most, sum(alive.values()))

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(look)
    optimizer = adana.ADana(model.parameters(), 1e-3, omega=0)
    if released:
        adana.release_gradients(optimizer)
    model(torch.ones(2, WIDTH)).square().sum().backward()
    whole = sum(p.nbytes for p in model.parameters())
    assert most == (model[0].weight.nbytes if released else whole)
