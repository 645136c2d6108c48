"""What kernels take of parameters: remembered while nothing has changed, and not longer."""

import copy
import gc
import weakref

import pytest
import torch

import adana
from adana.optim import rows
from adana.optim.offload import OffloadedStates

from .conftest import close, parameters, run, same, set_gradients

SHAPES = [(4, 6), (5,)]


@pytest.fixture
def looked_at(monkeypatch):
    """The indices of the parameters that were looked at, in their order."""
    seen = []

    def record(work, i, *rest, original=rows._looked_at):
        seen.append(i)
        return original(work, i, *rest)

    monkeypatch.setattr(rows, "_looked_at", record)
    return seen


@pytest.mark.parametrize(
    "options",
    [{}, {"state_dtype": "log16"}, {"capturable": True}],
    ids=["fp32", "log16", "capturable"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parameters_are_looked_at_once(dtype, options, looked_at):
    run(adana.ADana, parameters(dtype, SHAPES), 4, lr=1e-2, fused=True, **options)
    assert looked_at == [0, 1]


def test_every_group_and_dtype_has_its_own_memory(looked_at):
    params = [*parameters(shapes=SHAPES), *parameters(torch.bfloat16, SHAPES)]
    groups = [{"params": params[::2], "state_dtype": "fp24"}, {"params": params[1::2]}]
    run(adana.ADana, params, 3, optimizer=adana.ADana(groups, 1e-2))
    assert len(looked_at) == 4


def replace_weights(optimizer, p):
    p.data = p.data.clone()


def transpose_weights(optimizer, p):
    p.data = p.data.t().contiguous().t()


def replace_state(optimizer, p):
    optimizer.state[p]["m"] = optimizer.state[p]["m"].clone()


def move_state(optimizer, p):
    optimizer.state[p]["v"].data = optimizer.state[p]["v"].clone()


def replace_all_states(optimizer, p):
    optimizer.state[p] = {name: x.clone() for name, x in optimizer.state[p].items()}


def load(optimizer, p):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


CHANGES = [
    replace_weights, transpose_weights, replace_state, move_state, replace_all_states, load
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_replaced_is_looked_at_and_used(change, looked_at):
    changed, plain = parameters(shapes=SHAPES), parameters(shapes=SHAPES)
    optimizer, reference = (run(adana.ADana, x, 2, lr=1e-2) for x in (changed, plain))
    looked_at.clear()
    change(optimizer, changed[0])
    run(None, changed, 2, start=2, optimizer=optimizer)
    assert set(looked_at) == ({0, 1} if change is load else {0})
    run(None, plain, 2, start=2, optimizer=reference)
    agree = close if change is transpose_weights else same  # torch updates those
    assert agree(changed, plain)
    for p, q in zip(changed, plain, strict=True):
        assert agree(optimizer.state[p].values(), reference.state[q].values())


def test_a_state_that_was_cast_in_place_is_an_error_not_read_past_its_end(looked_at):
    (p,) = parameters(shapes=[(1000,)])
    optimizer = run(adana.ADana, [p], 2, lr=1e-2)
    optimizer.state[p]["m"].data = optimizer.state[p]["m"].bfloat16()
    set_gradients([p], 2)
    with pytest.raises(RuntimeError):
        optimizer.step()
    assert looked_at == [0, 0]


GRADIENTS = {
    "transposed": lambda g: g.t().contiguous().t(),
    "lazily negative": torch._neg_view,
    "of a subclass": lambda g: g.as_subclass(Wrapped),
    "half as wide": lambda g: g.bfloat16(),
    "twice as wide": lambda g: g.double(),
}


class Wrapped(torch.Tensor):
    """A class that kernels do not know."""


WIDTHS = {"half as wide", "twice as wide"}


@pytest.mark.parametrize("how", GRADIENTS)
def test_gradients_are_looked_at_in_every_step(how, looked_at):
    """Of weights that are known: as the eager update takes them."""
    if how in WIDTHS and not hasattr(torch.Tensor, "grad_dtype"):
        pytest.skip("this torch has no grad_dtype")
    results = []
    for options in ({"fused": True}, {"foreach": False}):
        (p,) = parameters(shapes=SHAPES[:1])
        if how in WIDTHS:
            p.grad_dtype = None
        optimizer = run(adana.ADana, [p], 2, lr=1e-2, **options)
        set_gradients([p], 2)
        p.grad = GRADIENTS[how](p.grad)
        optimizer.step()
        results.append([p, *optimizer.state[p].values()])
    assert close(*results)
    assert looked_at == ([0] if how == "half as wide" else [0, 0])


def test_gradients_of_another_shape_are_an_error():
    (p,) = parameters(shapes=SHAPES[:1])
    optimizer = run(adana.ADana, [p], 2, lr=1e-2)
    p.grad.data = p.grad.data[:2]
    with pytest.raises(RuntimeError):
        optimizer.step()


def replace_by_hand(optimizer, p):
    for name, x in optimizer.state[p].items():
        optimizer.state[p][name] = x.clone()  # as x.to(device) does


def drop(optimizer, p):
    optimizer.state.clear()


def convert(optimizer, p):
    adana.convert_states(optimizer, state_dtype="fp24")


@pytest.mark.parametrize("change", [replace_by_hand, drop, convert, load])
def test_states_that_were_replaced_are_not_kept_alive(change):
    params = parameters(shapes=SHAPES)
    optimizer = run(adana.ADana, params, 2, lr=1e-2)
    old = weakref.ref(optimizer.state[params[0]]["m"])
    change(optimizer, params[0])
    gc.collect()
    assert old() is None
    run(None, params, 1, start=2, optimizer=optimizer)


def cut(p):
    p.data = p.data[:2]


def fold(p):
    p.data = p.data.view(2, 12)


def transpose(p):
    p.data = p.data.t()


@pytest.mark.parametrize("change", [cut, fold])
def test_weights_of_another_shape_at_the_same_address_are_an_error(change):
    """With a gradient from before, which torch does not check again."""
    (p,) = parameters(shapes=[(4, 6)])
    optimizer = run(adana.ADana, [p], 2, lr=1e-2)
    before, address = p.detach().clone(), p.data_ptr()
    change(p)
    assert p.data_ptr() == address
    with pytest.raises(RuntimeError):
        optimizer.step()
    assert torch.equal(p.reshape(-1), before.reshape(-1)[: p.numel()])


def test_weights_that_were_transposed_at_the_same_address_are_updated_as_they_lie():
    results = []
    for options in ({"fused": True}, {"foreach": False}):
        (p,) = parameters(shapes=[(4, 4)])
        optimizer = run(adana.ADana, [p], 2, lr=1e-2, **options)
        transpose(p)
        set_gradients([p], 2)
        optimizer.step()
        results.append([p, *optimizer.state[p].values()])
    assert close(*results)


def test_large_weights_of_another_shape_are_an_error_too():
    (p,) = parameters(shapes=[(1 << 20,)])
    optimizer = run(adana.ADana, [p], 1, lr=1e-2, foreach=True)
    p.data = p.data[: 1 << 19]
    with pytest.raises(RuntimeError):
        optimizer.step()


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}])
def test_a_parameter_that_a_group_has_twice_is_updated_once(options):
    once, twice = parameters(shapes=[(5,)]), parameters(shapes=[(5,)])
    run(adana.ADana, once, 2, lr=1e-2, **options)
    optimizer = adana.ADana(twice * 2, 1e-2, **options)
    run(None, twice, 2, optimizer=optimizer)
    assert optimizer.state[twice[0]]["step"] == 2
    assert same(once, twice)


def test_copies_on_the_host_are_not_kept_alive(looked_at):
    """Offloaded states: weights are copied for each step, and freed after it."""
    params = parameters(shapes=SHAPES)
    optimizer = adana.ADana(params, 1e-2)
    with OffloadedStates(optimizer, copies=True):
        run(None, params, 2, optimizer=optimizer)
        assert not any(optimizer._rows._known.values())
    assert looked_at == [0, 1, 0, 1]


@pytest.mark.parametrize("options", [{}, {"state_dtype": "log16"}], ids=["fp32", "log16"])
def test_a_parameter_that_is_dropped_is_not_kept_alive(options):
    params = parameters(shapes=SHAPES)
    optimizer = run(adana.ADana, params, 2, lr=1e-2, fused=True, **options)
    dropped = weakref.ref(params[0])
    optimizer.state.pop(params[0])
    optimizer.param_groups[0]["params"].pop(0)
    params.pop(0)
    run(None, params, 1, optimizer=optimizer)
    gc.collect()
    assert dropped() is None
