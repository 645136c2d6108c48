"""FSDP2: every rank holds a part of each weight, gradient and state."""

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

import adana

from .training import (
    EXACT,
    OPTIMIZERS,
    PEAK,
    TORCH_2_9,
    assert_identical,
    assert_same_weights,
    batch,
    classifier,
    loss_of,
    my_part,
    names_and_sizes,
    optimizer_for,
    train,
    train_alone,
    weights_of,
)

STEPS = 6


def sharded(dtype=torch.float64, **options):
    """The classifier with every block and the rest sharded."""
    model = classifier(dtype)
    for block in model.blocks:
        fully_shard(block, **options)
    return fully_shard(model, **options)


def train_sharded(name, **overrides):
    model = sharded()
    train(model, optimizer_for(name, model, **overrides), range(STEPS), **my_part())
    return weights_of(model)


@pytest.mark.parametrize(("name", "size"), names_and_sizes())
def test_sharded_training_agrees_with_one_process(worlds, name, size):
    for found in worlds(size).run(train_sharded, name):
        assert_same_weights(found, train_alone(name, STEPS), EXACT)


# --- state ----------------------------------------------------------------------------------------


def state_of_sharded(name, dtype):
    model = sharded(dtype)
    optimizer = optimizer_for(name, model)
    train(model, optimizer, range(3), **my_part())
    facts = {}
    for key, p in model.named_parameters():
        state = dict(optimizer.state[p])
        step = state.pop("step")
        facts[key] = {
            "rows here": p.to_local().shape[0],
            "names": set(state),
            "step": (step.item(), step.dtype, type(step)),
            "dtypes": {x.dtype for x in state.values()},
            "sharded as the parameter": all(
                isinstance(x, DTensor)
                and x.shape == p.shape
                and x.device_mesh == p.device_mesh
                and x.placements == p.placements
                and x.to_local().shape == p.to_local().shape
                for x in state.values()
            ),
        }
    return facts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_states_are_float32_and_sharded_as_their_parameters(worlds, name, dtype):
    model = classifier(dtype)
    optimizer = optimizer_for(name, model)
    train(model, optimizer, range(1))
    expected = {key: set(optimizer.state[p]) - {"step"} for key, p in model.named_parameters()}
    ranks = worlds(4).run(state_of_sharded, name, dtype)
    for facts in ranks:
        assert {key: fact["names"] for key, fact in facts.items()} == expected
        for fact in facts.values():
            assert fact["step"] == (3, torch.int64, torch.Tensor)
            assert fact["dtypes"] == {torch.float32}
            assert fact["sharded as the parameter"]
    rows = [[rank[key]["rows here"] for rank in ranks] for key in ("head.weight", "scale")]
    assert rows == [[1, 1, 1, 0], [1, 0, 0, 0]], "these tests are about empty and uneven shards"


# --- options --------------------------------------------------------------------------------------


def train_in_mixed_precision(name):
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    model = sharded(torch.float32, mp_policy=policy)
    train(model, optimizer_for(name, model), range(STEPS), **my_part())
    return weights_of(model)


def train_alone_in_mixed_precision(name, parts):
    """Do what the ranks do, one after another: gradients in bfloat16, their mean in float32."""
    model = classifier(torch.float32)
    optimizer = optimizer_for(name, model)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=False)
        for part in range(parts):
            low = classifier(torch.bfloat16)
            low.load_state_dict(model.state_dict())
            loss_of(low, *batch(step, part, parts)).backward()
            for p, q in zip(model.parameters(), low.parameters(), strict=True):
                share = q.grad.float() / parts
                p.grad = share if p.grad is None else p.grad + share
        optimizer.step()
    return weights_of(model)


@pytest.mark.parametrize("name", ["ADana", "LogMuon"])
def test_bfloat16_compute_with_float32_weights_agrees_with_one_process(worlds, name):
    for found in worlds(2).run(train_in_mixed_precision, name):
        assert_same_weights(found, train_alone_in_mixed_precision(name, parts=2), 1e-6)
        assert {value.dtype for value in found.values()} == {torch.float32}


def train_with_clipped_gradients(name, wrap, part, parts):
    model = wrap()
    norms = []

    def clip():
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5)
        norms.append((norm.full_tensor() if isinstance(norm, DTensor) else norm).item())

    optimizer = optimizer_for(name, model)
    train(model, optimizer, range(STEPS), part, parts, before_step=clip)
    return weights_of(model), norms


def train_sharded_with_clipped_gradients(name):
    return train_with_clipped_gradients(name, sharded, **my_part())


@pytest.mark.parametrize("name", ["Dana", "LogMuon"])  # the gradient's size matters to both
def test_clipping_by_the_global_norm_agrees_with_one_process(worlds, name):
    expected, expected_norms = train_with_clipped_gradients(name, classifier, 0, 1)
    assert max(expected_norms) > 0.5, "nothing was clipped"
    for found, norms in worlds(2).run(train_sharded_with_clipped_gradients, name):
        assert norms == pytest.approx(expected_norms, rel=1e-6)
        assert_same_weights(found, expected, 1e-6 if TORCH_2_9 else EXACT)  # its norm is 1e-9 off


def train_sharded_both_ways(name):
    return train_sharded(name, foreach=False), train_sharded(name, foreach=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_foreach_equals_single_tensor_on_shards(worlds, name):
    for single, foreach in worlds(2).run(train_sharded_both_ways, name):
        assert_identical(single, foreach)


def train_sharded_by_column(name):
    model = sharded(shard_placement_fn=lambda p: Shard(p.ndim - 1))
    train(model, optimizer_for(name, model), range(STEPS), **my_part())
    return weights_of(model)


def train_sharded_and_replicated(name):
    model = sharded(mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))
    train(model, optimizer_for(name, model), range(STEPS), **my_part())
    return weights_of(model)


def train_sharded_capturable(name):
    return train_sharded(name, lr=torch.tensor(PEAK, dtype=torch.float64), capturable=True)


@pytest.mark.parametrize(
    ("function", "size"),
    [
        (train_sharded_by_column, 2),
        (train_sharded_and_replicated, 4),
        (train_sharded_capturable, 2),
    ],
)
@pytest.mark.parametrize("name", ["ADana", "DanaStarMK4", "LogMuon"])
def test_other_ways_to_shard_agree_with_one_process(worlds, name, function, size):
    for found in worlds(size).run(function, name):
        assert_same_weights(found, train_alone(name, STEPS), EXACT)


# --- going on from AdamW --------------------------------------------------------------------------


def train_adamw_then_adana(model, part, parts):
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3)
    train(model, adamw, range(3), part, parts)
    optimizer = adana.ADana(model.parameters(), lr=1e-2)
    adana.load_adamw_state(optimizer, adamw.state_dict())
    train(model, optimizer, range(3, 6), part, parts)
    return weights_of(model)


def train_sharded_adamw_then_adana():
    return train_adamw_then_adana(sharded(), **my_part())


def test_going_on_from_sharded_adamw_agrees_with_one_process(worlds):
    expected = train_adamw_then_adana(classifier(), part=0, parts=1)
    for found in worlds(2).run(train_sharded_adamw_then_adana):
        assert_same_weights(found, expected)
