"""The same update however it is executed: captured, compiled, in low precision, under a scaler."""

import math

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import adana
from adana import schedules

from .conftest import CONFIGURATIONS, close, parameters, run, same, set_gradients

MISSING = [{}, {1}, {0, 2}, {}, {3}, {}]


def run_with_gaps(optimizer, params, *, scheduler=None):
    for step, missing in enumerate(MISSING):
        set_gradients(params, step, missing)
        optimizer.step()
        if scheduler:
            scheduler.step()


def test_capturable_takes_the_same_steps_without_reading_the_device(make):
    eager, captured = parameters(), parameters()
    run_with_gaps(make(eager), eager)
    optimizer = make(captured, capturable=True, lr=torch.tensor(1e-2))
    run_with_gaps(optimizer, captured)
    assert close(eager, captured)
    assert {type(h) for work in optimizer._plan(False) for h in [work.hyper]} == {torch.Tensor}


def test_capturable_follows_a_scheduler_that_writes_into_the_tensor():
    eager, captured = parameters(), parameters()
    for params, lr, capturable in ((eager, 1e-2, False), (captured, torch.tensor(1e-2), True)):
        optimizer = adana.ADana(params, lr, total_steps=100, capturable=capturable)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda k: schedules.warmup_cosine(k + 1, 6, 2)
        )
        run_with_gaps(optimizer, params, scheduler=scheduler)
    assert close(eager, captured)


def test_a_tensor_learning_rate_is_read_like_a_number():
    numbers, tensors = parameters(), parameters()
    run(adana.ADana, numbers, 3, lr=1e-2)
    run(adana.ADana, tensors, 3, lr=torch.tensor(1e-2, dtype=torch.float64))
    assert same(numbers, tensors)


def test_a_learning_rate_on_another_device_needs_capturable():
    with pytest.raises(ValueError, match="capturable"):
        adana.ADana(parameters(), peak_lr=1e-2, lr=_OnDevice(1e-2))


class _OnDevice(torch.Tensor):
    """A tensor that says it lives on a GPU."""

    def __new__(cls, value):
        return torch.tensor(value).as_subclass(cls)

    @property
    def device(self):
        return torch.device("cuda", 0)


def test_differentiable_is_refused_with_a_reason(make):
    with pytest.raises(ValueError, match="differentiate"):
        make(parameters(), differentiable=True)


COMPILED = ["adana", "dana-star-mk4", "ademamix", "log-muon", "dana"]


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_step_compiles_once_while_time_and_learning_rate_go_on(name):
    shapes = [(4, 5), (7,), (3, 3)]
    plain, compiled = parameters(shapes=shapes), parameters(shapes=shapes)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    reference, optimizer = CONFIGURATIONS[name](plain), CONFIGURATIONS[name](compiled)
    step = torch.compile(optimizer.step, backend=counter)
    for t in range(8):
        for either, params in ((reference, plain), (optimizer, compiled)):
            set_gradients(params, t)
            for group in either.param_groups:
                group["lr"] = 1e-2 * (1 - t / 10)
        step()
        reference.step()
    assert counter.frame_count == 1
    assert close(plain, compiled)


def test_a_grad_scaler_skips_steps_with_overflow_and_leaves_no_trace():
    scaled, plain = parameters(shapes=[(8,)]), parameters(shapes=[(8,)])
    optimizer, reference = adana.ADana(scaled, 1e-2), adana.ADana(plain, 1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=1000)
    for step in range(5):
        set_gradients(plain, step)
        scaler.scale(torch.tensor(1.0))  # initialises the scaler's tensors
        scaled[0].grad = plain[0].grad * scaler.get_scale()
        if step == 2:
            scaled[0].grad[3] = math.inf
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(scaled, 1e9)
        scaler.step(optimizer)
        scaler.update()
        if step != 2:
            reference.step()
    assert optimizer.state[scaled[0]]["step"] == 4
    assert close(scaled, plain)


def test_autocast_training_of_a_bf16_forward_reaches_every_parameter():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimizer = adana.ADana(adana.param_groups(model), 1e-2, omega=0.1)
    x = torch.randn(64, 8)
    y = x.sum(1, keepdim=True)
    losses = []
    for _ in range(60):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (model(x).float() - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert all(len(optimizer.state[p]) == 3 for p in model.parameters())


def test_a_closure_works_inside_a_compiled_step():
    (p,) = parameters(shapes=[(4,)])
    optimizer = adana.ADana([p], 1e-2)
    torch._dynamo.reset()

    @torch.compile(backend="eager")
    def step():
        def closure():
            optimizer.zero_grad()
            loss = p.square().sum()
            loss.backward()
            return loss

        return optimizer.step(closure)

    losses = [step().item() for _ in range(5)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"state_dtype": "fp24"}])
def test_memory_can_be_planned_with_fake_tensors(options):
    from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: PLC0415

    with FakeTensorMode():
        model = torch.nn.Linear(4, 4)
        optimizer = adana.ADana(model.parameters(), lr=1e-3, **options)
        for _ in range(2):
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
        assert {x.shape for x in optimizer.state[model.weight].values()} == {(), (4, 4)}
