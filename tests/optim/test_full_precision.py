"""Float32 weights behind bfloat16 parameters."""

import pytest
import torch
from torch import nn

import adana

from .conftest import parameters


def trained(kind, steps=30):
    """Return a bf16 model and a float32 one, after the same gradients from the same weights."""
    torch.manual_seed(0)
    narrow = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2)).bfloat16()
    wide = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2))
    wide.load_state_dict(narrow.state_dict())
    arguments = {"lr": 1e-3, "total_steps": 100, "fused": False}
    optimizer = adana.ADana(narrow.parameters(), bf16_weights=kind, **arguments)
    reference = adana.ADana(wide.parameters(), **arguments)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p, q in zip(narrow.parameters(), wide.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator).bfloat16()
            q.grad = p.grad.float()
        optimizer.step()
        reference.step()
    return narrow, optimizer, wide


def test_split32_weights_are_exported_as_float32_training_has_them():
    narrow, optimizer, wide = trained("split32")
    exported = adana.float32_state_dict(narrow, optimizer)
    assert exported.keys() == wide.state_dict().keys()
    for name, value in wide.state_dict().items():
        assert exported[name].dtype == torch.float32
        assert torch.equal(exported[name], value)
        assert torch.equal(narrow.state_dict()[name], value.bfloat16())


def test_split24_weights_are_exported_with_24_bits():
    narrow, optimizer, wide = trained("split24")
    exported = adana.float32_state_dict(narrow, optimizer)
    for name, value in wide.state_dict().items():
        low_bits = exported[name].view(torch.int32) & 0xFF
        assert not low_bits.any()
        assert torch.allclose(exported[name], value, rtol=30 * 2**-15, atol=1e-6)
        assert not torch.equal(exported[name], narrow.state_dict()[name].float())


@pytest.mark.parametrize("kind", ["nearest", "stochastic"])
def test_other_weights_are_exported_as_they_are(kind):
    narrow, optimizer, _ = trained(kind, steps=2)
    exported = adana.float32_state_dict(narrow, optimizer)
    for name, value in narrow.state_dict().items():
        assert torch.equal(exported[name], value.float())


def test_a_model_without_a_step_and_float32_parameters_are_exported_too():
    model = nn.Linear(3, 3).bfloat16()
    optimizer = adana.ADana(model.parameters(), lr=1e-3, bf16_weights="split32")
    exported = adana.float32_state_dict(model, optimizer)
    assert torch.equal(exported["weight"], model.weight.float())
    (p,) = parameters(shapes=[(4,)])
    module = nn.Module()
    module.p = p
    same = adana.float32_state_dict(module, adana.ADana([p], lr=1e-3))
    assert same["p"].data_ptr() == p.data_ptr()
