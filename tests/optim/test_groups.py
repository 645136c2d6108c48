import pytest
import torch
from torch import nn

import adana
from adana.nn import Enoki, EnokiConfig


def names_of(model, group):
    by_id = {id(p): name for name, p in model.named_parameters()}
    return {by_id[id(p)] for p in group["params"]}


def test_matrices_and_head_decay_while_embedding_and_gains_do_not():
    model = Enoki(EnokiConfig(heads=2, head_dim=8, vocab_size=50, sequence_length=8))
    decayed, undecayed = adana.param_groups(model)
    assert {"head.weight", "blocks.0.attention.qkv.weight", "blocks.0.mlp_out.weight"} <= names_of(
        model, decayed
    )
    assert {"embedding.weight", "norm.weight", "blocks.0.attention.q_norm.weight"} <= names_of(
        model, undecayed
    )
    assert undecayed["omega"] == 0.0
    assert undecayed["weight_decay"] == 0.0
    total = len(decayed["params"]) + len(undecayed["params"])
    assert total == len(list(model.parameters()))


def test_position_tables_that_are_parameters_are_spared_by_their_names():
    class Embeddings(nn.Module):
        def __init__(self):
            super().__init__()
            self.position_embeddings = nn.Parameter(torch.ones(1, 5, 4))
            self.pos_embed = nn.Parameter(torch.ones(1, 5, 4))
            self.embedder = nn.Parameter(torch.ones(5, 4))
            self.patch_embed = nn.Conv2d(3, 4, 2)

    model = nn.ModuleDict({"embeddings": Embeddings()})
    decayed, _ = adana.param_groups(model)
    assert names_of(model, decayed) == {"embeddings.patch_embed.weight", "embeddings.embedder"}
    (decayed, _) = adana.param_groups(model, decay_embeddings=True)
    assert len(decayed["params"]) == 4


def test_groups_serve_this_package_and_torch_alike():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    ours = adana.ADana(adana.param_groups(model), lr=1e-3)
    theirs = torch.optim.AdamW(adana.param_groups(model), lr=1e-3, weight_decay=0.1)
    assert [group["omega"] for group in ours.param_groups] == [4.0, 0.0]
    assert [group["weight_decay"] for group in theirs.param_groups] == [0.1, 0.0]


def test_names_come_along_when_asked_for():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    ours = adana.ADana(adana.param_groups(model, names=True), lr=1e-3)
    theirs = torch.optim.AdamW(adana.param_groups(model, names=True), lr=1e-3)
    for optimizer in (ours, theirs):
        assert [group["param_names"] for group in optimizer.param_groups] == [
            ["0.weight"],
            ["0.bias", "1.weight", "1.bias"],
        ]
    model(torch.randn(2, 3)).square().sum().backward()
    with ours.telemetry() as watch:
        ours.step()
    assert set(watch.read()) == {name for name, _ in model.named_parameters()}


def test_a_group_that_says_omega_decays_whatever_it_says_of_weight_decay():
    group = {"params": [nn.Parameter(torch.ones(2))], "weight_decay": 0.0}
    with pytest.raises(ValueError, match="nothing would decay"):
        adana.ADana([group], lr=1e-3)
    optimizer = adana.ADana([{**group, "omega": 4.0}], lr=1e-3)
    assert optimizer.param_groups[0]["omega"] == 4.0


def test_tied_head_counts_as_the_embedding():
    model = nn.ModuleDict({"embed": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
    model["head"].weight = model["embed"].weight
    (undecayed,) = adana.param_groups(model)
    assert len(undecayed["params"]) == 1
    assert undecayed["omega"] == 0.0
    (decayed,) = adana.param_groups(model, decay_embeddings=True)
    assert "omega" not in decayed


def test_a_layer_that_is_unfrozen_later_is_trained_and_decays_like_its_kind():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    optimizer = adana.ADana(adana.param_groups(model), lr=1e-2, total_steps=1000)
    decayed, undecayed = optimizer.param_groups
    assert names_of(model, decayed) == {"0.weight", "1.weight"}
    assert names_of(model, undecayed) == {"0.bias", "1.bias"}
    before = [p.detach().clone() for p in model[0].parameters()]
    for frozen in (True, False):
        model[0].requires_grad_(not frozen)
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        same = [p.equal(old) for p, old in zip(model[0].parameters(), before, strict=True)]
        assert same == [frozen, frozen]


def test_frozen_parameters_of_any_kind_are_no_matter_and_may_be_left_out():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    model.table = nn.Parameter(torch.zeros(3, dtype=torch.complex64), requires_grad=False)
    model.wide = nn.Parameter(torch.zeros(3, dtype=torch.float64), requires_grad=False)
    for arguments in ({}, {"state_dtype": "fp24"}):
        optimizer = adana.ADana(adana.param_groups(model), 1e-2, total_steps=1000, **arguments)
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        assert set(optimizer.state) == set(model[1].parameters())
    decayed, undecayed = adana.param_groups(model, frozen=False)
    assert names_of(model, decayed) == {"1.weight"}
    assert names_of(model, undecayed) == {"1.bias"}


def test_what_the_model_says_is_not_to_decay_does_not():
    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.zeros(1, 3, 4))
            self.rates = nn.Parameter(torch.zeros(4, 4))
            self.rates._no_weight_decay = True
            self.mix = nn.Linear(4, 4)

        def no_weight_decay(self):
            return {"table", "not.there"}

    model = nn.Sequential(Backbone(), nn.Linear(4, 4))
    decayed, undecayed = adana.param_groups(model)
    assert names_of(model, decayed) == {"0.mix.weight", "1.weight"}
    assert names_of(model, undecayed) == {"0.table", "0.rates", "0.mix.bias", "1.bias"}


def test_patterns_spare_parameters_and_a_pattern_without_match_is_an_error():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    decayed, undecayed = adana.param_groups(model, no_decay=[r"^0\."])
    assert names_of(model, decayed) == {"1.weight"}
    assert names_of(model, undecayed) == {"0.weight", "0.bias", "1.bias"}
    assert names_of(model, adana.param_groups(model, no_decay="^0")[0]) == {"1.weight"}
    with pytest.raises(ValueError, match="matches no parameter"):
        adana.param_groups(model, no_decay=["lm_head"])


def test_a_model_without_trainable_parameters_is_refused():
    for model in (nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)):
        with pytest.raises(ValueError, match="no trainable"):
            adana.param_groups(model)
    with pytest.raises(TypeError, match="takes a model, got generator"):
        adana.param_groups(model.parameters())


def test_flattened_parameters_of_the_old_fsdp_are_refused():
    class FullyShardedDataParallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat = nn.Parameter(torch.zeros(8))

    with pytest.raises(ValueError, match="fully_shard"):
        adana.param_groups(nn.Sequential(FullyShardedDataParallel()))


@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
def test_magnitudes_of_weight_norm_are_gains(wrap):
    model = nn.Sequential(wrap(nn.Linear(4, 6)), nn.Linear(6, 1))
    decayed, undecayed = adana.param_groups(model)
    assert [tuple(p.shape) for p in decayed["params"]] == [(6, 4), (1, 6)]
    assert sorted(tuple(p.shape) for p in undecayed["params"]) == [(1,), (6,), (6, 1)]


def test_vectors_with_empty_dimensions_are_vectors():
    model = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    model.token = nn.Parameter(torch.ones(1, 1, 8))
    model.positions = nn.Parameter(torch.ones(1, 5, 8))
    decayed, undecayed = adana.param_groups(model)
    assert {"positions", "in_proj_weight"} <= names_of(model, decayed)
    assert {"token", "bias_k", "bias_v"} <= names_of(model, undecayed)


def test_matrices_that_are_only_named_like_magnitudes_decay():
    model = nn.Module()
    model.w_g, model.w_v = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    (decayed,) = adana.param_groups(model)
    assert names_of(model, decayed) == {"w_g", "w_v"}
