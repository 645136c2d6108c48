"""State through `torch.save` and `torch.load(weights_only=True)`: a rank's own, and the whole."""

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
)
from torch.distributed.tensor.placement_types import _StridedShard

from .test_fsdp import sharded
from .test_tensor_parallel import sharded_both_ways
from .training import (
    EXACT,
    OPTIMIZERS,
    assert_identical,
    assert_same_weights,
    classifier,
    my_part,
    optimizer_for,
    settings_of,
    split_twice,
    states_of,
    train,
    train_alone,
    weights_of,
)


def save_and_reload_own_part(name, folder, both_ways):
    model, part = sharded_both_ways() if both_ways else (sharded(), dist.get_rank())
    parts = 2
    optimizer = optimizer_for(name, model)
    train(model, optimizer, range(3), part, parts)
    path = f"{folder}/{dist.get_rank()}.pt"
    torch.save(optimizer.state_dict(), path)
    fresh = optimizer_for(name, model, lr=1e-4)
    with torch.serialization.safe_globals([_StridedShard]):  # which torch 2.11 leaves out
        fresh.load_state_dict(torch.load(path, weights_only=True))
    states = states_of(model, optimizer), states_of(model, fresh)
    settings = settings_of(optimizer), settings_of(fresh)
    train(model, fresh, range(3, 6), part, parts)
    return states, settings, weights_of(model)


@pytest.mark.parametrize(
    ("name", "both_ways"),
    [
        *((name, False) for name in OPTIMIZERS),
        *(pytest.param(name, True, marks=split_twice) for name in ("ADana", "LogMuon")),
    ],
)
def test_each_rank_saves_and_reloads_its_own_state(worlds, tmp_path, name, both_ways):
    size = 4 if both_ways else 2
    ranks = worlds(size).run(save_and_reload_own_part, name, str(tmp_path), both_ways)
    for (before, after), (old, new), weights in ranks:
        assert_identical(after, before)
        assert new == old
        assert_same_weights(weights, train_alone(name, 6), EXACT)


def save_consolidated(name, folder):
    model = sharded()
    optimizer = optimizer_for(name, model)
    train(model, optimizer, range(3), **my_part())
    parts = {
        "model": get_model_state_dict(model),
        "optimizer": get_optimizer_state_dict(model, optimizer),
    }
    dcp.save(parts, checkpoint_id=f"{folder}/dcp")
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    consolidated = {
        "model": get_model_state_dict(model, options=options),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=options),
    }
    if dist.get_rank() == 0:
        torch.save(consolidated, f"{folder}/whole.pt")
    dist.barrier()
    return states_of(model, optimizer)


@pytest.mark.parametrize("made_by", ["full_state_dict", "dcp_to_torch_save"])
@pytest.mark.parametrize("name", ["ADana", "LogAdEMAMix", "LogMuon"])
def test_one_process_goes_on_from_a_consolidated_file(worlds, tmp_path, name, made_by):
    expected = worlds(2).run(save_consolidated, name, str(tmp_path))[0]
    path = tmp_path / "whole.pt"
    if made_by == "dcp_to_torch_save":
        dcp_to_torch_save(tmp_path / "dcp", path)
    saved = torch.load(path, weights_only=True)
    model = classifier()
    model.load_state_dict(saved["model"])
    optimizer = optimizer_for(name, model, lr=1e-4)
    optimizer.load_state_dict(saved["optimizer"])
    assert_identical(states_of(model, optimizer), expected)
    train(model, optimizer, range(3, 6))
    assert_same_weights(weights_of(model), train_alone(name, 6), EXACT)
