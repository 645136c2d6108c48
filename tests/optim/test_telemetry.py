"""What telemetry tells is true on every path, and looking changes nothing."""

import math

import pytest
import torch

import adana

from .conftest import CONFIGURATIONS, parameters, run, same, set_gradients
from .paths import NothingRead, every_path, snapshot

SHAPES = [(33, 7), (5,), (), (2, 0)]


def watched_step(optimizer, params, step):
    set_gradients(params, step)
    with optimizer.telemetry() as watch:
        optimizer.step()
    return watch.read()


def norm(x):
    return x.detach().double().norm().item()


def near(a, b, tolerance=1e-4):
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-9)


@every_path
def test_numbers_are_those_of_gradients_weights_and_states(make, path):
    params = parameters(shapes=SHAPES)
    optimizer = run(make, params, 3, omega=0.0, **path)  # no decay: weights lose lr * u alone
    before = [p.detach().clone() for p in params]
    report = watched_step(optimizer, params, 3)
    assert list(report) == list(range(len(params)))
    for i, (p, old) in enumerate(zip(params, before, strict=True)):
        seen, state, size = report[i], optimizer.state[p], max(p.numel(), 1)
        assert near(seen.g, norm(p.grad))
        assert near(seen.m, norm(state["m"]))
        assert near(seen.u, norm((old - p.detach()).double() / 1e-2), 1e-3)
        assert (seen.tau is None) == ("tau" not in state)
        assert (seen.r is None) == ("v" not in state)
        if seen.tau is not None:
            assert near(seen.tau, state["tau"].double().sum().item() / size)
        if seen.r is not None:
            m, v = state["m"].double(), state["v"].double()
            assert near(seen.r, (m * m / v).sum().item() / size)


@every_path
@pytest.mark.parametrize(
    "name", ["dana-mk4", "dana-mk4-released", "dana-star-mk4", "dana-star-mk4-released"]
)
def test_the_clip_fraction_counts_momentum_terms_beyond_their_limit(name, path):
    params = parameters(shapes=[(40, 50)])
    optimizer = CONFIGURATIONS[name](params, clip_snr=0.5, **path)
    run(None, params, 5, optimizer=optimizer)
    seen = watched_step(optimizer, params, 5)[0]
    h = optimizer.hyper(optimizer.param_groups[0], 6)
    s = {key: x.double() for key, x in optimizer.state[params[0]].items()}
    y, limit = s["m"].abs() / (s["v"].sqrt() * h.root + h.eps), torch.tensor(float(h.clip))
    if "tau" in s:
        x = s["tau"].clamp(max=0.5).clamp(min=1 / (2 + h.t))
        r = x / (1 - x)
        y = y * r.sqrt() * ((s["tau"] * h.t).clamp(min=1) + h.shift) ** h.exponent
        limit = h.clip * r
    fraction = (y > limit).double().mean().item()
    assert 0.01 < fraction < 0.99
    assert abs(seen.clipped - fraction) <= 2 / 2000  # rounding may move one or two


def test_without_a_clip_there_is_no_clip_fraction():
    params = parameters()
    assert watched_step(adana.ADana(params, 1e-2), params, 0)[0].clipped is None


@every_path
def test_a_watched_training_takes_the_same_weights_to_the_bit(make, path):
    watched, plain = parameters(shapes=SHAPES), parameters(shapes=SHAPES)
    optimizer, reference = make(watched, **path), make(plain, **path)
    with optimizer.telemetry(every=2) as watch:
        for step in range(6):
            for each, params in ((optimizer, watched), (reference, plain)):
                set_gradients(params, step)
                each.step()
            assert bool(watch.read()) == (step % 2 == 0)
    assert same(snapshot(optimizer, watched), snapshot(reference, plain))
    assert optimizer.state_dict()["state"].keys() == reference.state_dict()["state"].keys()
    for p, q in zip(watched, plain, strict=True):
        assert optimizer.state[p].keys() == reference.state[q].keys()


@every_path
@pytest.mark.parametrize("state_dtype", ["bf16_sr", "fp24", "log16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_in_fewer_bytes_are_seen_in_full(state_dtype, dtype, path):
    """All paths see the same, and leave the same codes as without telemetry."""
    watched, plain = (parameters(dtype, shapes=[(20, 30)]) for _ in range(2))
    arguments = {"total_steps": 100, "state_dtype": state_dtype}
    optimizer = adana.DanaStarMK4(watched, 1e-2, **arguments, **path)
    reference = adana.DanaStarMK4(plain, 1e-2, **arguments, **path)
    full = adana.DanaStarMK4(parameters(dtype, shapes=[(20, 30)]), 1e-2, total_steps=100)
    for step in range(4):
        seen = watched_step(optimizer, watched, step)[0]
        set_gradients(plain, step)
        reference.step()
        expected = watched_step(full, full.param_groups[0]["params"], step)[0]
        for name in ("g", "u", "m", "tau", "r"):
            assert near(getattr(seen, name), getattr(expected, name), 0.02)
        assert near(seen.g, expected.g)
    assert same(snapshot(optimizer, watched), snapshot(reference, plain))


def test_a_signal_to_noise_ratio_of_nothing_is_zero():
    """v is 0 where no gradient has been, and m^2 / v is not a number there."""
    for path in ({}, {"foreach": True}):
        p = torch.nn.Parameter(torch.ones(8))
        optimizer = adana.ADana([p], 1e-2, **path)
        p.grad = torch.tensor([0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0])
        with optimizer.telemetry() as watch:
            optimizer.step()
        assert near(watch.read()[0].r, 2 / 8 * schedules_weight())


def schedules_weight():
    """m^2 / v of an element after its first gradient: the weight of the newest gradient."""
    return adana.schedules.ema_weight(1, adana.schedules.DELTA)


def test_only_every_nth_step_is_watched_and_each_report_is_read_once():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    found = []
    with optimizer.telemetry(every=3) as watch:
        for step in range(7):
            set_gradients(params, step)
            optimizer.step()
            if report := watch.read():
                found.append((step, report[0].g, norm(params[0].grad)))
            assert watch.read() == {}
    assert [step for step, *_ in found] == [0, 3, 6]
    assert all(near(g, expected) for _, g, expected in found)


def test_a_late_reader_gets_the_last_report():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    with optimizer.telemetry() as watch:
        for step in range(3):
            set_gradients(params, step)
            optimizer.step()
    assert near(watch.read()[0].g, norm(params[0].grad))


def test_parameters_are_named_as_the_optimizer_was_told():
    model = torch.nn.Linear(3, 2)
    optimizer = adana.ADana(model.named_parameters(), 1e-2)
    report = watched_step(optimizer, list(model.parameters()), 0)
    assert list(report) == ["weight", "bias"]
    assert near(report["bias"].g, norm(model.bias.grad))


def test_a_parameter_without_a_gradient_is_not_reported():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    set_gradients(params, 0, missing={1})
    with optimizer.telemetry() as watch:
        optimizer.step()
    assert list(watch.read()) == [0, 2, 3, 4]


@every_path
def test_the_gradient_is_seen_as_the_update_takes_it(make, path):
    params = parameters(shapes=[(6, 7)])
    optimizer = make(params, **path)
    set_gradients(params, 0)
    adana.clip_grad_norm(optimizer, 0.5)
    with optimizer.telemetry() as watch:
        optimizer.step()
    assert near(watch.read()[0].g, 0.5)


def test_a_skipped_step_is_not_counted():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    with optimizer.telemetry(every=5) as watch:
        set_gradients(params, 0)
        optimizer.found_inf = torch.tensor(1.0)
        optimizer.step()
        assert watch.read() == {}
        optimizer.found_inf = torch.tensor(0.0)
        optimizer.step()
        assert watch.read()
        for skipped in (1.0, 1.0, 0.0, 0.0, 0.0, 0.0):
            optimizer.found_inf = torch.tensor(skipped)
            optimizer.step()
            assert watch.read() == {}
        optimizer.step()
        assert watch.read()


def test_of_a_step_skipped_on_the_device_there_is_nothing_to_read():
    params = parameters()
    optimizer = run(adana.DanaStar, params, 1, lr=1e-2, omega=0.0, capturable=True)
    params[0].grad.fill_(math.inf)
    with optimizer.telemetry() as watch:
        optimizer.found_inf = torch.tensor(1.0)
        with NothingRead():
            optimizer.step()
        assert watch.read() == {}
        optimizer.found_inf = torch.tensor(0.0)
        set_gradients(params, 1)
        optimizer.step()
        assert near(watch.read()[0].g, norm(params[0].grad))


def test_watched_capturable_steps_read_nothing(make):
    params = parameters(shapes=SHAPES)
    optimizer = make(params, capturable=True, foreach=False, lr=torch.tensor(1e-2))
    run(None, params, 1, optimizer=optimizer)
    set_gradients(params, 1)
    with optimizer.telemetry() as watch:
        with NothingRead():
            optimizer.step()
        assert near(watch.read()[0].g, norm(params[0].grad))


@pytest.mark.parametrize("name", ["adana", "log-muon", "dana-star-mk4"])
def test_a_compiled_step_is_watched_too(name):
    compiled, plain = parameters(shapes=[(4, 5), (7,)]), parameters(shapes=[(4, 5), (7,)])
    torch._dynamo.reset()
    optimizer, reference = CONFIGURATIONS[name](compiled), CONFIGURATIONS[name](plain)
    step = torch.compile(optimizer.step, backend="aot_eager")
    for t in range(3):
        expected = watched_step(reference, plain, t)
        set_gradients(compiled, t)
        with optimizer.telemetry() as watch:
            step()
        report = watch.read()
        assert report.keys() == expected.keys()
        for i, seen in report.items():
            for a, b in zip(seen, expected[i], strict=True):
                assert (a is None and b is None) or near(a, b)


def test_two_watches_at_a_time_are_refused_and_the_first_goes_on():
    params = parameters()
    optimizer = adana.ADana(params, 1e-2)
    with optimizer.telemetry() as watch:
        with pytest.raises(RuntimeError, match="already"), optimizer.telemetry():
            pass
        set_gradients(params, 0)
        optimizer.step()
    assert watch.read()
    with optimizer.telemetry():
        pass


def test_every_must_be_a_positive_integer():
    with pytest.raises(ValueError, match="every"):
        adana.ADana(parameters(), 1e-2).telemetry(every=0)


def test_an_error_in_the_block_ends_the_watch():
    optimizer = adana.ADana(parameters(), 1e-2)
    with pytest.raises(KeyError), optimizer.telemetry():
        raise KeyError
    assert optimizer.watch is None
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("options", [{}, {"foreach": True}], ids=["default", "eager"])
def test_steps_are_the_same_whatever_device_is_the_default_one(options):
    params, others = parameters(shapes=SHAPES), parameters(shapes=SHAPES)
    seen = []
    for mine, device in ((params, "cpu"), (others, "meta")):
        optimizer = adana.ADana(mine, lr=1e-2, **options)
        set_gradients(mine, 0)
        with torch.device(device), optimizer.telemetry() as watch:
            assert adana.clip_grad_norm(optimizer, 1.0).device.type == "cpu"
            optimizer.step()
        seen.append(watch.read()[0].u)
    assert same(params, others)
    assert seen[0] == seen[1]
