"""Fused steps take the steps of the eager update, element by element, whatever surrounds them."""

import copy
import io
import math
import pickle

import pytest
import torch

import adana
from adana.optim import fused
from adana.optim.kernel import c_launch

from .conftest import CONFIGURATIONS, close, parameters, run, same, set_gradients

SIZES = [(0,), (1,), (7,), (33, 31), (70_000,), (), (2, 3, 4, 5)]
TOLERANCE = 2e-5
"""Of 20 steps of at most 1e-2, with rounding that differs in some places."""


@pytest.fixture
def kernels(monkeypatch):
    """The recipes of the kernels that run, one entry a call."""
    seen = []

    def record(recipe, rows, numbers, original=c_launch.run):
        seen.append((recipe, len(rows)))
        return original(recipe, rows, numbers)

    monkeypatch.setattr(fused.c_launch, "run", record)
    return seen


@pytest.fixture
def threads():
    """A function that sets the number of threads for this test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def rows_of(optimizer):
    """All states of an optimizer as lists, in the order of the parameters."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return [x for p in params for x in optimizer.state[p].values()]


def is_matrix_of_muon(optimizer, p):
    group = optimizer.param_groups[0]
    return isinstance(optimizer, adana.LogMuon) and optimizer.orthogonalised(group, p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_equals_foreach_to_rounding(make, dtype, kernels):
    eager, fused_ = parameters(dtype, SIZES), parameters(dtype, SIZES)
    shared = {"bf16_weights": "nearest"}
    a = run(make, eager, 20, foreach=True, **shared)
    assert not kernels
    b = run(make, fused_, 20, fused=True, **shared)
    taken = [p for p in fused_ if p.numel() and not is_matrix_of_muon(b, p)]
    assert [count for _, count in kernels] == [len(taken)] * 20
    place = max(TOLERANCE, 2 * torch.finfo(dtype).eps) if dtype != torch.float32 else TOLERANCE
    assert close(eager, fused_, place)
    for x, y in zip(rows_of(a), rows_of(b), strict=True):
        assert x.dtype == y.dtype
        assert torch.allclose(x, y, rtol=1e-5, atol=1e-6)


def test_fused_is_the_default_on_a_cpu_unless_foreach_is_said(kernels):
    run(adana.ADana, parameters(), 1, lr=1e-2)
    assert len(kernels) == 1
    for given in ({"foreach": True}, {"foreach": False}, {"fused": False}):
        run(adana.ADana, parameters(), 1, lr=1e-2, **given)
    assert len(kernels) == 1


LAYOUTS = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
    "permuted": lambda x: x.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2),
    "contiguous": lambda x: x,
    "with gaps": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "every other row": lambda x: torch.stack([x, x], 1).flatten(0, 1)[::2],
}
FALL_BACK = {"with gaps", "every other row"}


@pytest.mark.parametrize("of_gradient", [*LAYOUTS, "expanded"])
@pytest.mark.parametrize("of_weight", LAYOUTS)
def test_every_layout_of_weight_and_gradient(of_weight, of_gradient, kernels):
    def trained(options):
        generator = torch.Generator().manual_seed(0)
        values = torch.randn(4, 4, 3, 5, 2, generator=generator)
        p = torch.nn.Parameter(LAYOUTS[of_weight](values[0]))
        optimizer = adana.DanaStarMK4([p], 1e-2, **options)
        for g in values[1:]:
            expanded = of_gradient == "expanded"
            p.grad = g[:, :, :, :1].expand_as(p) if expanded else LAYOUTS[of_gradient](g)
            optimizer.step()
        return [p, *rows_of(optimizer)]

    eager = trained({"foreach": False})
    assert not kernels
    found = trained({})
    assert len(kernels) == (0 if of_weight in FALL_BACK else 3)
    assert close(eager, found)
    assert found[0].stride() == eager[0].stride()


def test_a_checkpoint_of_another_memory_format_is_stepped_by_the_kernel(kernels):
    (p,) = parameters(shapes=[(4, 3, 2, 2)])
    last = torch.nn.Parameter(p.detach().to(memory_format=torch.channels_last))
    saved = run(adana.ADana, [last], 1, lr=1e-2).state_dict()
    q = torch.nn.Parameter(last.detach().contiguous())
    optimizer = adana.ADana([q], 1e-2)
    optimizer.load_state_dict(saved)
    run(None, [q], 1, start=1, optimizer=optimizer)
    assert len(kernels) == 2
    run(adana.ADana, [p], 2, lr=1e-2)
    assert same([p], [q])


class Marked(torch.Tensor):
    """A subclass that may mean anything."""


def test_what_a_kernel_does_not_know_falls_back(kernels):
    for make_p in (
        lambda x: torch.nn.Parameter(x.double()),
        lambda x: torch.nn.Parameter(x.as_subclass(Marked)),
    ):
        params = [make_p(torch.linspace(-1, 1, 5)) for _ in range(2)]
        for p, options in zip(params, ({"fused": True}, {"foreach": True}), strict=True):
            optimizer = adana.ADana([p], 1e-2, **options)
            for step in range(3):
                set_gradients([p], step)
                optimizer.step()
        assert torch.equal(*params)
    assert not kernels


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_gradients_of_another_dtype(dtype, kernels):
    if not hasattr(torch.Tensor, "grad_dtype"):
        pytest.skip("this torch has no grad_dtype")
    results = []
    for options in ({"foreach": False}, {}):
        p, other = parameters(shapes=[(50,), (3,)])
        p.grad_dtype = dtype
        optimizer = adana.ADana([p, other], 1e-2, **options)
        for step in range(5):
            set_gradients([other], step)
            generator = torch.Generator().manual_seed(step)
            p.grad = torch.randn(50, generator=generator).to(dtype)
            optimizer.step()
        results.append([p, other])
    assert close(*results)
    assert {recipe.gradients for recipe, _ in kernels} == {torch.float32, dtype} - {torch.float64}


def test_gradients_that_are_lazily_negative():
    results = []
    for options in ({"foreach": False}, {}):
        (p,) = parameters(shapes=[(5,)])
        p.grad = torch.view_as_real(torch.ones(5, dtype=torch.complex64).conj() * 1j).select(1, 1)
        negative = torch._neg_view(p.grad)
        p.grad = negative
        assert p.grad.is_neg()
        adana.ADana([p], 1e-2, **options).step()
        results.append([p])
    assert close(*results)


def of_zeros(like):
    """Zeros that have no memory, as autograd makes them."""
    return torch._efficientzerotensor(like.shape)


def test_gradients_without_memory_are_zeros(kernels):
    results = []
    for options in ({"foreach": False}, {}):
        (p,) = parameters(shapes=[(5,)])
        optimizer = adana.ADana([p], 1e-2, **options)
        run(None, [p], 1, optimizer=optimizer)
        p.grad = of_zeros(p)
        optimizer.step()
        results.append([p, *rows_of(optimizer)])
    assert len(kernels) == 2
    assert close(*results)


MEDDLED = {
    "cast": lambda x: x.bfloat16(),
    "cast to the wider": lambda x: x.double(),
    "moved": lambda x: x.to("meta"),
    "of another shape": lambda x: x[:3],
}


@pytest.mark.parametrize("how", MEDDLED)
def test_states_that_someone_cast_or_moved_are_an_error_not_read_past_their_end(how, kernels):
    """As after `model.double()`, training and `model.float()`, or after `model.cuda()`."""
    (p,) = parameters(shapes=[(1000,)])
    optimizer = run(adana.ADana, [p], 1, lr=1e-2)
    optimizer.state[p]["m"] = MEDDLED[how](optimizer.state[p]["m"])
    set_gradients([p], 1)
    with pytest.raises(RuntimeError):
        optimizer.step()
    assert len(kernels) == 1


def test_weights_that_are_lazily_negative_are_left_to_torch(kernels):
    p = torch.nn.Parameter(torch._neg_view(torch.ones(3)))
    p.grad = torch.ones(3)
    optimizer = adana.ADana([p], 1e-2, omega=0.0)
    with pytest.raises(RuntimeError, match="negation"):
        optimizer.step()
    assert not kernels


def test_numbers_that_parameters_share_are_read_by_all_of_them(kernels):
    """Compiled steps have them; where torch gives up compiling, they reach the kernel."""
    eager, packed = parameters(shapes=[(3,)] * 40), parameters(shapes=[(3,)] * 40)
    run(adana.ADana, eager, 1, lr=1e-2)
    optimizer = adana.ADana(packed, 1e-2)
    set_gradients(packed, 0)
    with torch.no_grad():
        for work in optimizer._plan(True):
            optimizer.update(work)
    assert len(kernels) == 2
    assert close(eager, packed)


# --- the place of an element means nothing ------------------------------------------------------


def results_in_pieces(cuts, numbers, options, prefix=()):
    """Weights and states of the same elements, as parameters cut at `cuts`, joined again."""
    value, *gradients = numbers
    before = [torch.nn.Parameter(torch.ones(n)) for n in prefix]
    params = [torch.nn.Parameter(x.clone()) for x in value.tensor_split(cuts)]
    optimizer = adana.DanaStarMK4([*before, *params], 1e-2, **options)
    for g in gradients:
        for p, part in zip(params, g.tensor_split(cuts), strict=True):
            p.grad = part.clone()
        for p in before:
            p.grad = torch.full_like(p, 1e30)
        optimizer.step()
    names = ("m", "v", "tau")
    states = [torch.cat([optimizer.state[p][name] for p in params]) for name in names]
    return [torch.cat([p.detach() for p in params]), *states]


def numbers(size, steps=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(steps + 1, size, generator=generator)


@pytest.mark.parametrize("cuts", [[1], [7, 8, 40_001], [16 * k + 3 for k in range(900)]], ids=len)
def test_size_neighbours_and_offset_change_no_bit(cuts):
    given = numbers(70_000)
    whole = results_in_pieces([], given, {})
    assert same(whole, results_in_pieces(cuts, given, {}))
    assert same(whole, results_in_pieces(cuts, given, {}, prefix=(5, 1, 333)))


@pytest.mark.parametrize("state_dtype", ["fp32", "bf16_sr", "fp24", "log16"])
def test_the_number_of_threads_changes_no_bit(threads, state_dtype):
    given = numbers(3 * c_launch.SHARE + 77)
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(results_in_pieces([70_001], given, {"state_dtype": state_dtype}))
    assert same(found[0], found[1])
    assert same(found[0], found[2])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["adana", "dana-mk4", "dana-star-mk4", "log-ademamix", "dana"])
def test_what_is_not_finite_stays_with_its_element(name, value):
    found = []
    for options, bad in (({}, True), ({"foreach": False}, True), ({}, False)):
        (p,) = parameters(shapes=[(37,)])
        optimizer = CONFIGURATIONS[name]([p], **options)
        for step in range(3):
            set_gradients([p], step)
            if bad and step == 1:
                p.grad[20] = value
            optimizer.step()
        found.append([p.detach(), *(x for x in rows_of(optimizer) if x.ndim)])
    others = torch.arange(37) != 20
    for with_kernel, eager, good in zip(*found, strict=True):
        assert torch.equal(with_kernel[others], good[others])
        assert torch.equal(with_kernel.isnan(), eager.isnan())
        assert torch.equal(with_kernel.isinf(), eager.isinf())
    assert not found[0][0][20].isfinite()


# --- around the step ----------------------------------------------------------------------------


def test_capturable_steps_are_fused_too(make, kernels):
    eager, captured = parameters(shapes=SIZES), parameters(shapes=SIZES)
    run(make, eager, 5, foreach=False)
    optimizer = make(captured, capturable=True, lr=torch.tensor(1e-2))
    for step in range(5):
        set_gradients(captured, step, missing={2} if step == 1 else ())
        optimizer.step()
    assert kernels
    assert close(
        [p for i, p in enumerate(eager) if i != 2], [p for i, p in enumerate(captured) if i != 2]
    )
    (late,) = parameters(shapes=[SIZES[2]], seed=0)
    assert int(optimizer.state[captured[2]]["step"]) == 4
    assert late.shape == captured[2].shape


def test_parameters_of_a_group_at_different_steps_have_their_own_numbers():
    for options in ({}, {"capturable": True}):
        results = []
        for more in ({"foreach": False}, {"fused": True}):
            params = parameters(shapes=[(4,), (5,), (6,)])
            optimizer = adana.DanaStar(params, 1e-2, total_steps=50, **options, **more)
            for step, missing in enumerate([{1}, {1, 2}, set(), {0}, set()]):
                set_gradients(params, step, missing)
                optimizer.step()
            assert [int(optimizer.state[p]["step"]) for p in params] == [4, 3, 4]
            results.append([*params, *rows_of(optimizer)])
        assert close(*results)


def test_maximize_is_minimizing_the_negative_to_the_bit(make):
    up, down = parameters(shapes=SIZES), parameters(shapes=SIZES)
    a, b = make(up, maximize=True, fused=True), make(down, fused=True)
    for step in range(3):
        set_gradients(up, step)
        set_gradients(down, step)
        for p in down:
            p.grad.neg_()
        a.step()
        b.step()
    assert same(up, down)


@pytest.mark.parametrize("how", ["state dict", "deepcopy", "pickle"])
def test_a_copy_goes_on_to_the_bit(make, how):
    whole, stopped = parameters(shapes=SIZES), parameters(shapes=SIZES)
    run(make, whole, 8, fused=True)
    optimizer = run(make, stopped, 5, fused=True)
    if how == "state dict":
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        stopped = [torch.nn.Parameter(p.detach().clone()) for p in stopped]
        again = make(stopped, lr=5e-3)
        again.load_state_dict(torch.load(file, weights_only=True))
    else:
        again = copy.deepcopy(optimizer)
        if how == "pickle":
            again = pickle.loads(pickle.dumps(optimizer))
        stopped = again.param_groups[0]["params"]
    run(make, stopped, 3, start=5, optimizer=again)
    assert same(whole, stopped)


def test_a_backward_through_weights_that_changed_is_an_error_as_with_torch():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = adana.ADana([p], 1e-2, fused=True)
    loss = p.square().sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inference_mode_and_leaves_made_in_it_are_stepped():
    with torch.inference_mode():
        p = torch.nn.Parameter(torch.ones(3))
        p.grad = torch.ones(3)
        adana.ADana([p], 1e-2, fused=True).step()
        assert (p < 1).all()


def test_what_changes_with_time_needs_no_new_kernel(kernels):
    params = parameters(shapes=[(4, 3), (5,)] * 150)
    optimizer = adana.DanaStarMK4(params, 1e-2, total_steps=100)
    run(None, params, 1, optimizer=optimizer)
    made = len(c_launch.kernel.known)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for step in range(5):
        set_gradients(params, step)
        optimizer.step()
        scheduler.step()
    optimizer.reschedule(kappa=0.75, delta=4.0, omega=1.0, total_steps=300, eps=1e-6, clip_snr=0.5)
    optimizer.param_groups[0]["maximize"] = True
    run(None, params, 2, start=6, optimizer=optimizer)
    assert len(c_launch.kernel.known) == made
    assert len({recipe for recipe, _ in kernels}) == 1
    assert {count for _, count in kernels} == {300}
