"""One parameter and one gradient, split in every way DTensor knows."""

import itertools

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from adana.optim import work
from adana.optim.update import Hyper

from .training import EXACT, OPTIMIZERS, whole

STEPS = 2
SHAPES = [(5, 3), (3, 2, 5), (2, 1)]
PLACES = [Replicate(), Shard(0), Shard(1)]


def value_and_gradients(shape):
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(STEPS + 1, *shape, generator=generator, dtype=torch.float64)


def optimizer_of(name, p):
    return OPTIMIZERS[name]([{"params": [p], **({"muon": True} if name == "LogMuon" else {})}])


def placed_gradient(g, mesh, placements):
    """A DTensor of the value g; parts of a sum are g on the first rank and 0 on the others."""
    settled = [Replicate() if place.is_partial() else place for place in placements]
    spread = distribute_tensor(g, mesh, settled)
    for axis, place in enumerate(placements):
        if place.is_partial() and mesh.get_local_rank(axis) > 0:
            spread.to_local().zero_()
    return DTensor.from_local(
        spread.to_local(), mesh, placements, run_check=False, shape=g.shape, stride=g.stride()
    )


def step_everywhere(name, combinations):
    mesh = init_device_mesh("cpu", (2, 2))
    found = []
    for shape, places, gradient_places in combinations:
        value, *gradients = value_and_gradients(shape)
        p = torch.nn.Parameter(distribute_tensor(value, mesh, places))
        optimizer = optimizer_of(name, p)
        for g in gradients:
            p.grad = placed_gradient(g, mesh, gradient_places)
            optimizer.step()
        state = optimizer.state[p]
        assert all(state[key].placements == p.placements for key in state if key != "step")
        found.append(whole(p))
    return found


def step_whole(name, shape):
    value, *gradients = value_and_gradients(shape)
    p = torch.nn.Parameter(value)
    optimizer = optimizer_of(name, p)
    for g in gradients:
        p.grad = g
        optimizer.step()
    return p.detach()


@pytest.mark.parametrize("name", ["DanaStarMK4", "LogMuon"])
def test_every_placement_gives_the_step_of_the_whole_tensor(worlds, name):
    twice = list(itertools.product(PLACES, repeat=2))
    same = [(shape, places, places) for shape in SHAPES for places in twice]
    elsewhere = [
        (SHAPES[0], places, gradient_places)
        for places in [(Shard(0), Shard(1)), (Shard(0), Shard(0)), (Replicate(), Shard(0))]
        for gradient_places in itertools.product([*PLACES, Partial()], repeat=2)
        if gradient_places != places
    ]
    combinations = same + elsewhere
    expected = {shape: step_whole(name, shape) for shape in SHAPES}
    for found in worlds(4).run(step_everywhere, name, combinations):
        for combination, value in zip(combinations, found, strict=True):
            torch.testing.assert_close(
                value,
                expected[combination[0]],
                rtol=0,
                atol=EXACT,
                msg=lambda m, c=combination: f"{c}: {m}",
            )


def sizes_of_pieces(limit):
    """How many parameters of 16 elements, 4 of them here, are updated at once."""
    mesh = init_device_mesh("cpu", (4,))
    params = [distribute_tensor(torch.zeros(8, 2), mesh, [Shard(0)]) for _ in range(5)]
    together = work.Work({}, params, params, [{}] * 5, Hyper(lr=0.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "PIECE_ON_CPU", limit)
        return [len(piece.params) for piece in work.pieces(together, ())]


@pytest.mark.parametrize(("limit", "sizes"), [(8, [2, 2, 1]), (20, [5]), (1, [1] * 5)])
def test_pieces_are_counted_in_the_elements_a_rank_holds(worlds, limit, sizes):
    assert worlds(4).run(sizes_of_pieces, limit) == [sizes] * 4
