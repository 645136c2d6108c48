"""Gradients are unscaled and clipped, and steps skipped, by numbers of the step itself."""

import math

import pytest
import torch

import adana

from .conftest import CONFIGURATIONS, close, parameters, run, same, set_gradients
from .paths import PATHS, NothingRead, every_path, snapshot

SHAPES = [(3, 4), (5,), (), (2, 0), (2, 3)]


def gradients(params):
    return [p.grad.clone() for p in params]


def scaler_of(optimizer, params, scale):
    """A scaler for `params`, whose gradients become those of a loss that it scaled."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
    scaler.scale(torch.tensor(1.0))  # makes the scaler's tensors
    return scaler


SCALED_PATHS = {**PATHS, "asked": {"fused": True}}


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("path", SCALED_PATHS.values(), ids=SCALED_PATHS)
def test_a_scaler_takes_the_steps_without_it_and_skips_those_that_overflow(make, path, unscale):
    if "capturable" in path:  # a step that may be skipped on the device is not fused
        path = PATHS["capturable"]
    asked = path.get("fused") or path.get("capturable")
    scaled, plain = parameters(shapes=SHAPES), parameters(shapes=SHAPES)
    optimizer, reference = make(scaled, **path), make(plain, **path)
    scaler = scaler_of(optimizer, scaled, 2.0**8)
    for step in range(5):
        set_gradients(plain, step)
        for p, q in zip(scaled, plain, strict=True):
            p.grad = q.grad * scaler.get_scale()
        if step in (0, 2):
            scaled[0].grad[1, 2] = math.inf
        if unscale:
            scaler.unscale_(optimizer)
        before, untouched = gradients(scaled), snapshot(optimizer, scaled)
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if asked or unscale:
            assert same(before, gradients(scaled))
        else:  # the scaler has divided
            assert same([g / scale for g in before], gradients(scaled))
        if step in (0, 2):
            after = snapshot(optimizer, scaled)
            if step == 0:  # no state yet, or, from a step that was called, one at zero
                assert not any(x.any() for p in scaled for x in optimizer.state[p].values())
            else:
                assert same(untouched, after)
        else:
            reference.step()
    assert same(snapshot(optimizer, scaled), snapshot(reference, plain))


@every_path
def test_a_step_after_clip_grad_norm_is_that_of_clipped_gradients(make, path):
    ours, theirs = parameters(shapes=SHAPES), parameters(shapes=SHAPES)
    optimizer, reference = make(ours, **path), make(theirs, **path)
    for step in range(4):
        for params in (ours, theirs):
            set_gradients(params, step)
        before = gradients(ours)
        norm = adana.clip_grad_norm(optimizer, 0.5 + step)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 0.5 + step)
        assert torch.allclose(norm, expected)
        assert norm > 0.5 + step  # else nothing is clipped
        optimizer.step()
        reference.step()
        assert same(before, gradients(ours))
    assert close(snapshot(optimizer, ours), snapshot(reference, theirs), 2e-6)


@every_path
def test_a_factor_is_used_once_and_not_above_one(path):
    ours, theirs = parameters(), parameters()
    optimizer, reference = adana.ADana(ours, 1e-2, **path), adana.ADana(theirs, 1e-2, **path)
    for step in range(3):
        for params in (ours, theirs):
            set_gradients(params, step)
        if step == 1:
            adana.clip_grad_norm(optimizer, 0.1)
            torch.nn.utils.clip_grad_norm_(theirs, 0.1)
        if step == 2:
            adana.clip_grad_norm(optimizer, 1e9)
        optimizer.step()
        reference.step()
    assert close(ours, theirs)


@pytest.mark.parametrize("unscale", [False, True])
@every_path
def test_clipping_under_a_scaler_is_by_the_norm_without_the_scale(make, path, unscale):
    if "capturable" in path:
        path = PATHS["capturable"]
    ours, theirs = parameters(shapes=SHAPES), parameters(shapes=SHAPES)
    optimizer, reference = make(ours, **path), make(theirs, **path)
    scaler = scaler_of(optimizer, ours, 1000.0)
    for step in range(3):
        set_gradients(theirs, step)
        for p, q in zip(ours, theirs, strict=True):
            p.grad = q.grad * 1000
        if unscale:
            scaler.unscale_(optimizer)
        norm = adana.clip_grad_norm(optimizer, 0.5)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 0.5)
        assert torch.allclose(norm, expected if unscale else 1000 * expected)
        scaler.step(optimizer)
        scaler.update()
        reference.step()
    assert close(snapshot(optimizer, ours), snapshot(reference, theirs), 1e-5)


def test_a_skipped_step_forgets_its_clip_and_so_does_zero_grad():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    set_gradients(params, 0)
    params[0].grad[0, 0] = math.nan
    adana.clip_grad_norm(optimizer, 1.0)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    del optimizer.found_inf
    assert optimizer.clip is None
    set_gradients(params, 1)
    adana.clip_grad_norm(optimizer, 1.0)
    optimizer.zero_grad()
    assert optimizer.clip is None


def test_a_second_clip_replaces_the_first():
    ours, theirs = parameters(), parameters()
    optimizer, reference = adana.ADana(ours, 1e-2), adana.ADana(theirs, 1e-2)
    for params in (ours, theirs):
        set_gradients(params, 0)
    adana.clip_grad_norm(optimizer, 1e-3)
    adana.clip_grad_norm(optimizer, 0.5)
    torch.nn.utils.clip_grad_norm_(theirs, 0.5)
    run_one(optimizer, reference)
    assert close(ours, theirs)
    assert all(
        torch.allclose(optimizer.state[p]["m"], reference.state[q]["m"])
        for p, q in zip(ours, theirs, strict=True)
    )


def run_one(*optimizers):
    for optimizer in optimizers:
        optimizer.step()


def test_an_infinite_limit_only_measures():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    set_gradients(params, 0)
    norm = adana.clip_grad_norm(optimizer, math.inf)
    assert torch.allclose(norm, torch.nn.utils.get_total_norm([p.grad for p in params]))
    assert optimizer.clip is None


@every_path
def test_maximizing_clips_the_same(make, path):
    up, down = parameters(shapes=SHAPES), parameters(shapes=SHAPES)
    rising, falling = make(up, maximize=True, **path), make(down, **path)
    for step in range(3):
        for params in (up, down):
            set_gradients(params, step)
        for p in up:
            p.grad.neg_()
        for optimizer in (rising, falling):
            adana.clip_grad_norm(optimizer, 0.5)
            optimizer.step()
    assert same(up, down)


@pytest.mark.parametrize("state_dtype", ["bf16_sr", "fp24", "log16"])
def test_a_step_skipped_on_the_device_leaves_every_code(state_dtype):
    params = parameters(torch.bfloat16, shapes=[(64,)])
    optimizer = adana.ADana(params, 1e-2, state_dtype=state_dtype, capturable=True)
    run(None, params, 3, optimizer=optimizer)
    before = snapshot(optimizer, params)
    set_gradients(params, 3)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert same(before, snapshot(optimizer, params))
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    assert not same(before, snapshot(optimizer, params))


def test_capturable_steps_read_neither_scale_nor_overflow_nor_norm(make):
    params = parameters(shapes=SHAPES)
    optimizer = make(params, capturable=True, foreach=False, lr=torch.tensor(1e-2))
    run(None, params, 2, optimizer=optimizer)
    before = snapshot(optimizer, params)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(0.0)
    with NothingRead():
        adana.clip_grad_norm(optimizer, 0.5)
        optimizer.step()
    assert not same(before, snapshot(optimizer, params))
    with pytest.raises(AssertionError, match="was read"), NothingRead():
        optimizer.grad_scale.item()


@every_path
def test_bfloat16_gradients_are_not_rounded_when_clipped(path):
    """A factor multiplies them in float32, while rewriting them would round."""
    params = [torch.nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16))]
    set_gradients(params, 0)
    optimizer = adana.ADana(params, 1e-2, **path)
    norm = adana.clip_grad_norm(optimizer, 0.1)
    assert norm.dtype == torch.float32
    assert torch.allclose(norm, params[0].grad.float().norm())
    optimizer.step()
    weight = adana.schedules.ema_weight(1, 8.0)
    expected = params[0].grad.float() * (0.1 / (norm + 1e-6)) * weight
    assert torch.allclose(optimizer.state[params[0]]["m"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["adana", "log-muon"])
def test_a_compiled_step_unscales_clips_and_skips(name):
    ours, theirs = parameters(shapes=[(4, 5), (7,)]), parameters(shapes=[(4, 5), (7,)])
    torch._dynamo.reset()
    optimizer, reference = CONFIGURATIONS[name](ours), CONFIGURATIONS[name](theirs, foreach=False)
    compiled = torch.compile(optimizer.step, backend="aot_eager")
    for t in range(5):
        for either, params, step in (
            (optimizer, ours, compiled),
            (reference, theirs, reference.step),
        ):
            set_gradients(params, t)
            if t % 2 == 0:
                adana.clip_grad_norm(either, 0.5)
            either.grad_scale, either.found_inf = torch.tensor(2.0), torch.tensor(float(t == 3))
            step()
            del either.grad_scale, either.found_inf
    assert optimizer.state[ours[0]]["step"] == 4
    assert close(ours, theirs)


def test_no_gradients_have_the_norm_zero():
    assert adana.clip_grad_norm(adana.ADana(parameters(), 1e-2), 1.0) == 0


def test_what_cannot_be_clipped_is_refused_with_a_reason():
    params = parameters()
    set_gradients(params, 0)
    with pytest.raises(TypeError, match="clip_grad_norm_"):
        adana.clip_grad_norm(torch.optim.SGD(params, 0.1), 1.0)
    optimizer = adana.ADana(params, 1e-2)
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="max_norm"):
            adana.clip_grad_norm(optimizer, wrong)
    params[0].grad[0, 0] = math.nan
    with pytest.raises(RuntimeError, match="nan"):
        adana.clip_grad_norm(optimizer, 1.0, error_if_nonfinite=True)
    assert optimizer.clip is None
    optimizer._gradients_released_by = object()
    with pytest.raises(RuntimeError, match="release"):
        adana.clip_grad_norm(optimizer, 1.0)
