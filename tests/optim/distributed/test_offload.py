"""States on the host on many ranks: each has those of its shards."""

import pytest
import torch
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, init_device_mesh
from torch.nn.parallel import DistributedDataParallel

import adana
from adana.optim.offload import OffloadedStates

from ..elsewhere import DEVICE, Elsewhere, PretendedDevice
from .training import (
    FAST,
    OPTIMIZERS,
    assert_identical,
    batch,
    classifier,
    loss_of,
    my_part,
    optimizer_for,
    states_of,
    train,
    weights_of,
)

STEPS = 4
both = pytest.mark.parametrize("gradients", [False, True], ids=["states", "gradients"])


def names():
    return [
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.exhaustive])
        for name in OPTIMIZERS
    ]


def sharded(dtype=torch.float64):
    model = classifier(dtype)
    for block in model.blocks:
        fully_shard(block)
    return fully_shard(model)


def offload(optimizer, gradients):
    """Let the states be on the host as they would be with a device: by copies."""
    return OffloadedStates(optimizer, gradients=gradients, copies=True)


def train_sharded(name, offloaded, gradients=False):
    model = sharded()
    optimizer = optimizer_for(name, model)
    if offloaded:
        offload(optimizer, gradients)
    norms = []
    with optimizer.telemetry() as watch:
        train(
            model, optimizer, range(STEPS), **my_part(),
            before_step=lambda: norms.append(adana.clip_grad_norm(optimizer, 0.1).item()),
        )  # fmt: skip
        seen = watch.read()
    return weights_of(model), states_of(model, optimizer), norms, seen


@both
@pytest.mark.parametrize("name", names())
def test_sharded_training_is_the_same_offloaded(worlds, name, gradients):
    ordinary = worlds(2).run(train_sharded, name, False)
    offloaded = worlds(2).run(train_sharded, name, True, gradients)
    for expected, found in zip(ordinary, offloaded, strict=True):
        assert_identical(found[0], expected[0])
        assert_identical(found[1], expected[1])
        assert found[2:] == expected[2:]
        assert min(found[2]) > 0.1  # all were clipped


def accumulate_sharded(offloaded):
    """Two micro-batches a step, both reduced."""
    model = sharded()
    optimizer = optimizer_for("ADana", model)
    if offloaded:
        offload(optimizer, gradients=True)
    for step in range(STEPS):
        for micro in range(2):
            loss_of(model, *batch(2 * step + micro, **my_part())).backward()
            assert not offloaded or all(p.grad is None for p in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
    return weights_of(model)


def test_micro_batches_are_added_up_on_the_host(worlds):
    ordinary = worlds(2).run(accumulate_sharded, False)
    for expected, found in zip(ordinary, worlds(2).run(accumulate_sharded, True), strict=True):
        assert_identical(found, expected)


def hand_over(gradients):
    """Save from an offloaded optimizer, load into an ordinary one, and from that into the first."""
    model = sharded()
    optimizer = optimizer_for("ADana", model)
    with offload(optimizer, gradients):
        train(model, optimizer, range(2), **my_part())
        saved = get_optimizer_state_dict(model, optimizer)
    ordinary = optimizer_for("ADana", model)
    set_optimizer_state_dict(model, ordinary, saved)
    train(model, ordinary, range(2, 3), **my_part())
    last = optimizer_for("ADana", model)
    offload(last, gradients)
    set_optimizer_state_dict(model, last, get_optimizer_state_dict(model, ordinary))
    train(model, last, range(3, STEPS), **my_part())
    return weights_of(model), states_of(model, last)


@both
def test_distributed_state_dicts_move_both_ways(worlds, gradients):
    ordinary = worlds(2).run(train_ordinarily)
    for expected, found in zip(ordinary, worlds(2).run(hand_over, gradients), strict=True):
        assert_identical(found[0], expected[0])
        assert_identical(found[1], expected[1])


def train_ordinarily():
    model = sharded()
    optimizer = optimizer_for("ADana", model)
    train(model, optimizer, range(STEPS), **my_part())
    return weights_of(model), states_of(model, optimizer)


# --- on a device ----------------------------------------------------------------------------------


def shards(mesh):
    """Parameters in bfloat16, with a row that only the first rank has, and gradients of 3 steps."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 4), (5,), (1, 3)]
    rows = [[torch.randn(s, generator=generator).bfloat16() for s in shapes] for _ in range(4)]
    return [[distribute_tensor(x, mesh, [Shard(0)]) for x in row] for row in rows]


def elsewhere(x):
    """The same shard on the pretended device."""
    return DTensor.from_local(
        x.to_local().to(DEVICE), x.device_mesh, x.placements, run_check=False,
        shape=x.shape, stride=x.stride(),
    )  # fmt: skip


def train_shards_of_a_device():
    mesh = init_device_mesh("cpu", (2,))
    weights, *gradients = shards(mesh)
    settings = {"lr": 1e-2, "state_dtype": "log16", "omega": 0.1}
    with PretendedDevice() as device:
        here = [torch.nn.Parameter(p.clone()) for p in weights]
        there = [torch.nn.Parameter(elsewhere(p)) for p in weights]
        reference, optimizer = adana.DanaStar(here, **settings), adana.DanaStar(there, **settings)
        adana.offload_states(optimizer, gradients=True)
        bytes_before = device.bytes
        for row in gradients:
            for p, q, g in zip(here, there, row, strict=True):
                p.grad, q.grad = g, elsewhere(g)
            reference.step()
            optimizer.step()
        assert device.bytes == bytes_before
        for p, q in zip(here, there, strict=True):
            assert isinstance(q.to_local(), Elsewhere)
            assert torch.equal(p.to_local(), q.to_local().inner)
            for name, x in optimizer.state[q].items():
                assert x.device.type == "cpu"
                if name != "step":
                    assert x.placements == q.placements
                    assert torch.equal(x.to_local(), reference.state[p][name].to_local())
        optimizer.host.remove()
        assert isinstance(optimizer.state[there[0]]["m"].to_local(), Elsewhere)
        for p, q, g in zip(here, there, gradients[0], strict=True):
            p.grad, q.grad = g, elsewhere(g)
        reference.step()
        optimizer.step()
    return int(optimizer.state[there[0]]["step"])


def test_shards_on_a_device_have_their_states_on_the_host(worlds):
    assert worlds(2).run(train_shards_of_a_device) == [4, 4]


# --- replicas -------------------------------------------------------------------------------------


def train_replicas(offloaded):
    model = DistributedDataParallel(classifier())
    optimizer = optimizer_for("ADana", model)
    if offloaded:
        with pytest.raises(RuntimeError, match="pass gradients=False"):
            adana.offload_states(optimizer, gradients=True)
        offload(optimizer, gradients=False)
    train(model, optimizer, range(STEPS), **my_part())
    return weights_of(model)


def test_replicas_have_states_but_no_gradients_on_the_host(worlds):
    ordinary = worlds(2).run(train_replicas, False)
    for expected, found in zip(ordinary, worlds(2).run(train_replicas, True), strict=True):
        assert_identical(found, expected)
