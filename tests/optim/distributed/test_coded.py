"""States and weights in fewer bytes on many ranks: the bits are those of one process."""

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

import adana

from .training import assert_identical, split_twice, whole

SHAPES = [(5, 7), (3, 2, 5), (1, 4), (9,)]
"""On 2 ranks every first dimension is split unevenly, and one rank has none of the third."""
ARGUMENTS = {
    "bf16_sr": (torch.float32, {"state_dtype": "bf16_sr"}),
    "fp24": (torch.float32, {"state_dtype": "fp24"}),
    "log16": (torch.float32, {"state_dtype": "log16"}),
    "stochastic": (torch.bfloat16, {"state_dtype": "log16"}),
    "split24": (torch.bfloat16, {"state_dtype": "log16", "bf16_weights": "split24"}),
    "split32": (torch.bfloat16, {"state_dtype": "fp24", "bf16_weights": "split32"}),
}


def tensors(dtype, step):
    """Weights, or the gradients of a step from 1."""
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


def optimizer_of(kind, place, options):
    """An optimizer over named parameters, each placed by `place`."""
    dtype, arguments = ARGUMENTS[kind]
    params = [torch.nn.Parameter(place(x)) for x in tensors(dtype, 0)]
    named = [(f"layer.{i}", p) for i, p in enumerate(params)]
    return adana.DanaStarMK4(named, 1e-2, **arguments, **options), params


def train(optimizer, params, steps, place):
    for step in steps:
        for p, g in zip(params, tensors(params[0].dtype, step + 1), strict=True):
            p.grad = place(g)
        optimizer.step()


def gathered(x):
    """A whole tensor, through int32: neither gloo nor NCCL sends int16."""
    if isinstance(x, DTensor) and x.dtype == torch.int16:
        return whole(x.to(torch.int32)).to(torch.int16)
    return whole(x)


def result(optimizer, params):
    """All weights and states by name, whole."""
    found = {f"{i}": whole(p) for i, p in enumerate(params)}
    for i, p in enumerate(params):
        found |= {f"{i}.{name}": gathered(x) for name, x in optimizer.state[p].items()}
    return found


def sharder(dimension):
    """Split along the dimension, or along the last one that there is."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    if dimension is None:
        return lambda x: distribute_tensor(x, mesh, [Replicate()])
    return lambda x: distribute_tensor(x, mesh, [Shard(min(dimension, x.ndim - 1))])


def train_sharded(kind, dimension, options):
    place = sharder(dimension)
    optimizer, params = optimizer_of(kind, place, options)
    train(optimizer, params, range(3), place)
    assert all(isinstance(p.data, DTensor) for p in params)
    return result(optimizer, params)


def train_alone(kind, steps=3, **options):
    optimizer, params = optimizer_of(kind, torch.clone, options)
    train(optimizer, params, range(steps), torch.clone)
    return result(optimizer, params)


@pytest.mark.parametrize("options", [{}, {"foreach": True}], ids=["fused", "eager"])
@pytest.mark.parametrize("dimension", [0, 1, None], ids=str)
@pytest.mark.parametrize("kind", ARGUMENTS)
def test_any_sharding_gives_the_bits_of_one_process(worlds, kind, dimension, options):
    expected = train_alone(kind, **options)
    for found in worlds(2).run(train_sharded, kind, dimension, options):
        assert_identical(found, expected)


CONVERSIONS = {
    "fewer bytes": ("split32", {"state_dtype": "log16", "bf16_weights": "split24"}),
    "more bytes": ("split24", {"state_dtype": "fp32", "bf16_weights": "nearest"}),
}


def convert(kind, changes, place):
    optimizer, params = optimizer_of(kind, place, {})
    train(optimizer, params, range(2), place)
    adana.convert_states(optimizer, **changes)
    train(optimizer, params, range(2, 3), place)
    return result(optimizer, params)


def convert_sharded(kind, changes):
    return convert(kind, changes, sharder(0))


@pytest.mark.parametrize("name", CONVERSIONS)
def test_converted_states_have_the_bits_of_one_process(worlds, name):
    expected = convert(*CONVERSIONS[name], torch.clone)
    for found in worlds(2).run(convert_sharded, *CONVERSIONS[name]):
        assert_identical(found, expected)


class Rows(torch.nn.Module):
    """Two matrices whose gradients do not depend on them: whole numbers, on any number of ranks."""

    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(4, 10), torch.nn.Linear(4, 6)
        generator = torch.Generator().manual_seed(0)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator)

    def forward(self, x):
        return self.up(x) @ torch.arange(10.0) + self.down(x) @ torch.arange(6.0)


def train_rows_on(model, optimizer):
    for step in range(3):
        model(torch.arange(8.0).view(2, 4) - step).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def train_rows(model):
    named = list(model.named_parameters())
    optimizer = adana.DanaStarMK4(named, 1e-2, state_dtype="log16")
    train_rows_on(model, optimizer)
    return result(optimizer, [p for _, p in named])


def train_split_twice():
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    model = Rows()
    plan = {name: ColwiseParallel(output_layouts=Replicate()) for name in ("up", "down")}
    parallelize_module(model, mesh["tensor"], plan)
    fully_shard(model, mesh=mesh["data"])
    return train_rows(model)


@split_twice
def test_rows_that_fsdp_and_tensor_parallel_split_both_have_the_bits_of_one_process(worlds):
    expected = train_rows(Rows())
    for found in worlds(4).run(train_split_twice):
        assert_identical(found, expected)


def consolidate():
    model = Rows()
    fully_shard(model)
    optimizer = adana.DanaStarMK4(model.named_parameters(), 1e-2, state_dtype="log16")
    train_rows_on(model, optimizer)
    adana.convert_states(optimizer, state_dtype="fp32")
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_optimizer_state_dict(model, optimizer, options=options)


def test_states_in_16_bits_are_consolidated_as_float32_and_converted_back(worlds):
    model = Rows()
    optimizer = adana.DanaStarMK4(model.named_parameters(), 1e-2, state_dtype="log16")
    train_rows_on(model, optimizer)
    adana.convert_states(optimizer, state_dtype="fp32")
    saved, _ = worlds(2).run(consolidate)
    for name, p in model.named_parameters():
        assert_identical(saved["state"][name], optimizer.state[p])
    set_optimizer_state_dict(model, optimizer, saved)
    adana.convert_states(optimizer, state_dtype="log16")
    assert optimizer.state[model.up.weight]["m"].dtype == torch.int16


def state_of(optimizer):
    saved = optimizer.state_dict()
    return {f"{i}.{k}": x for i, state in saved["state"].items() for k, x in state.items()}


def save_sharded(kind, folder):
    place = sharder(0)
    optimizer, params = optimizer_of(kind, place, {})
    train(optimizer, params, range(2), place)
    weights = {f"p{i}": p.detach() for i, p in enumerate(params)}
    dcp.save({**weights, **state_of(optimizer)}, checkpoint_id=folder)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("kind", ["fp24", "log16", "split24"])
def test_a_checkpoint_of_two_ranks_goes_on_in_one_process_to_the_bit(worlds, tmp_path, kind):
    worlds(2).run(save_sharded, kind, str(tmp_path))
    optimizer, params = optimizer_of(kind, torch.clone, {})
    train(optimizer, params, range(1), torch.clone)  # makes the tensors to load into
    weights = {f"p{i}": p.detach() for i, p in enumerate(params)}
    dcp.load({**weights, **state_of(optimizer)}, checkpoint_id=tmp_path)
    train(optimizer, params, range(2, 3), torch.clone)
    assert_identical(result(optimizer, params), train_alone(kind))
