"""Models on several ranks: the same initial weights, and the same losses in chunks."""

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor

from adana.nn import build_model

from .test_models import TINY, every_family, tokens

CHUNK = 10


def sharded(family):
    """A model built on the meta device, sharded by block, given memory and its weights."""
    with torch.device("meta"):
        model = build_model(TINY[family], seed=None)
    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)
    model.to_empty(device="cpu")
    model.init_weights(seed=3)
    return model


def whole_weights_of_sharded(family):
    found = {}
    for name, p in sharded(family).named_parameters():
        assert isinstance(p, DTensor)
        assert p.to_local().shape != p.shape
        found[name] = p.detach().full_tensor()
    return found


@every_family
def test_sharded_initial_weights_are_those_of_one_process_bit_for_bit(worlds, family):
    expected = dict(build_model(TINY[family], seed=3).named_parameters())
    for found in worlds(2).run(whole_weights_of_sharded, family):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def weights_in_a_mesh():
    """Matrices split over columns by one dimension of a 2 x 2 mesh, replicated over the other."""
    model = build_model(TINY["qwen3"], seed=None)
    mesh = init_device_mesh("cpu", (2, 2))

    def split(_name, module, mesh):
        for name, p in module.named_parameters(recurse=False):
            placements = [Replicate(), Shard(p.ndim - 1)]
            whole = torch.full_like(p, torch.nan)
            part = torch.nn.Parameter(distribute_tensor(whole, mesh, placements))
            module.register_parameter(name, part)

    model = distribute_module(model, mesh, split)
    model.init_weights(3)
    return {name: p.detach().full_tensor() for name, p in model.named_parameters()}


def test_initial_weights_do_not_depend_on_how_they_are_sharded(worlds):
    expected = dict(build_model(TINY["qwen3"], seed=3).named_parameters())
    for found in worlds(4).run(weights_in_a_mesh):
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def losses_of_sharded(family, chunk):
    model = sharded(family)
    terms = model(tokens(), tokens(seed=1), 0.1, chunk)
    terms.loss.backward()
    gradients = {name: p.grad.full_tensor() for name, p in model.named_parameters()}
    return terms.loss.item(), gradients


@every_family
@pytest.mark.parametrize("chunk", [None, CHUNK])
def test_a_sharded_model_has_the_losses_and_gradients_of_one_process(worlds, family, chunk):
    model = build_model(TINY[family], seed=3)
    loss = model(tokens(), tokens(seed=1), 0.1).loss
    loss.backward()
    for found, gradients in worlds(2).run(losses_of_sharded, family, chunk):
        assert found == pytest.approx(loss.item(), rel=1e-5)
        for name, p in model.named_parameters():
            torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-6)


def chunked_loss_of_a_head_sharded_apart():
    model = build_model(TINY["enoki"])
    fully_shard(model.head)
    with pytest.raises(TypeError, match="shard the head together with the root"):
        model(tokens(), tokens(seed=1), chunk=CHUNK)


def test_a_chunked_loss_refuses_a_head_that_is_sharded_apart(worlds):
    worlds(2).run(chunked_loss_of_a_head_sharded_apart)
