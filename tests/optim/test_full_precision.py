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


def test_an_export_leaves_no_trace_in_the_optimizer():
    """Empty states would be saved, and could not be loaded again."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).bfloat16()
    optimizer = adana.ADana(model.parameters(), lr=1e-3, bf16_weights="split32")
    adana.float32_state_dict(model, optimizer)
    assert len(optimizer.state) == 0
    model[0](torch.ones(1, 3).bfloat16()).sum().backward()  # the other layer gets no gradient
    optimizer.step()
    adana.float32_state_dict(model, optimizer)
    assert len(optimizer.state) == 2


def test_a_state_dict_with_empty_states_is_loaded():
    params = parameters(torch.bfloat16, [(4,), (3,)])
    optimizer = adana.ADana(params, lr=1e-3, bf16_weights="split24")
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    assert not optimizer.state[params[1]]  # asking for it has made it
    again = adana.ADana(params, lr=1e-3, bf16_weights="split24")
    again.load_state_dict(optimizer.state_dict())
    params[1].grad = torch.ones_like(params[1])
    again.step()
    assert "low" in again.state[params[1]]


@pytest.mark.parametrize("options", [{}, {"foreach": True}], ids=["fused", "eager"])
@pytest.mark.parametrize("kind", ["split24", "split32"])
def test_a_model_that_becomes_bf16_after_a_step_goes_on(kind, options):
    model = nn.Linear(3, 3)
    optimizer = adana.ADana(model.parameters(), lr=1e-3, bf16_weights=kind, **options)
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        before = adana.float32_state_dict(model, optimizer)
        before = {name: x.detach().clone() for name, x in before.items()}
        optimizer.step()
    after = adana.float32_state_dict(model, optimizer)
    for name, x in before.items():
        assert ((after[name] - x).abs() > 0).all()
        assert ((after[name] - x).abs() < 0.02).all()


class Wrapping:
    """As `ZeroRedundancyOptimizer`, whose parameters are divided among ranks."""

    def __init__(self, optim):
        self.optim, self.param_groups, self.state = optim, optim.param_groups, {}


def test_only_optimizers_that_have_the_bits_are_asked_for_them():
    model = nn.Linear(3, 3).bfloat16()
    with pytest.raises(TypeError, match="not a AdamW"):
        adana.float32_state_dict(model, torch.optim.AdamW(model.parameters()))
    inner = adana.ADana(model.parameters(), lr=1e-3, bf16_weights="split32")
    with pytest.raises(TypeError, match=r"wraps one of ADana: pass its \.optim"):
        adana.float32_state_dict(model, Wrapping(inner))


@pytest.mark.parametrize("options", [{}, {"foreach": True}], ids=["fused", "eager"])
def test_bits_are_not_kept_over_steps_in_another_dtype(options):
    model = nn.Linear(3, 3)
    optimizer = adana.ADana(model.parameters(), lr=1e-3, bf16_weights="split32", **options)
    for dtype in (torch.bfloat16, torch.float32):
        model.to(dtype)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
    assert all("low" not in state for state in optimizer.state.values())
    model.bfloat16()
    exported = adana.float32_state_dict(model, optimizer)
    assert all(torch.equal(exported[name], p.float()) for name, p in model.named_parameters())
