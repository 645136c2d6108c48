"""Log-time Muon: what its iteration does to a matrix, and which parameters get it."""

import pytest
import torch
from torch import nn

import adana
from adana import schedules
from adana.nn import Enoki, EnokiConfig
from adana.optim.log_muon import orthogonal

from .conftest import parameters, same, set_gradients


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8), (6, 3, 5)])
def test_singular_values_end_close_to_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).reshape(shape[0], -1))
    assert 0.6 < values.min() <= values.max() < 1.25


def test_a_step_on_a_matrix_is_as_large_as_adamws_whatever_the_gradient_and_shape():
    torch.manual_seed(0)
    for rows, columns in ((64, 64), (32, 128), (128, 32)):
        p = nn.Parameter(torch.zeros(rows, columns))
        optimizer = adana.LogMuon([p], lr=1.0, omega=0.0, muon=True)
        p.grad = 1e-6 * torch.randn(rows, columns)
        optimizer.step()
        rms = p.detach().square().mean().sqrt().item()
        assert 0.15 < rms < 0.23  # spec/optimizers.md section 9: 0.188 to 0.191 for wide matrices


def test_the_update_is_the_documented_formula():
    (p,) = parameters(torch.float64, [(4, 6)])
    optimizer = adana.LogMuon([p], lr=1e-2, omega=1.0, decay_offset=10.0, muon=True)
    theta, m = p.detach().clone(), torch.zeros_like(p)
    for t in range(1, 6):
        set_gradients([p], t)
        optimizer.step()
        m += 8 / (8 + t) * (p.grad - m)
        x = p.grad + (1 + t) ** 0.15 * m
        theta = theta * (1 - 1 / (10 + t)) - 1e-2 * 0.2 * 6**0.5 * orthogonal(x)
    assert torch.allclose(p, theta, rtol=1e-6, atol=1e-7)


def test_what_is_not_a_matrix_gets_adanas_update():
    ours, theirs = parameters(shapes=[(5,), ()]), parameters(shapes=[(5,), ()])
    a = adana.LogMuon(ours, lr=1e-2, muon=True)
    b = adana.ADana(theirs, lr=1e-2)
    for step in range(3):
        for params, optimizer in ((ours, a), (theirs, b)):
            set_gradients(params, step)
            optimizer.step()
    assert same(ours, theirs)


def test_groups_that_do_not_say_what_they_are_are_refused():
    with pytest.raises(ValueError, match="muon=True"):
        adana.LogMuon(parameters(), lr=1e-2)


def test_a_group_that_says_no_in_words_is_refused():
    with pytest.raises(ValueError, match="True or False"):
        adana.LogMuon([{"params": parameters(), "muon": "no"}], lr=1e-2)


def test_param_groups_send_hidden_matrices_to_muon_and_spare_embedding_and_head():
    model = Enoki(EnokiConfig(heads=2, head_dim=8, vocab_size=50, sequence_length=8))
    names = {id(p): name for name, p in model.named_parameters()}
    matrices, decayed, undecayed = adana.param_groups(model, muon=True)
    of = [{names[id(p)] for p in g["params"]} for g in (matrices, decayed, undecayed)]
    assert matrices["muon"] is True
    assert decayed["muon"] is undecayed["muon"] is False
    assert "blocks.0.attention.qkv.weight" in of[0]
    assert of[1] == {"head.weight"}
    assert {"embedding.weight", "norm.weight"} <= of[2]
    assert sum(map(len, of)) == len(names)
    adana.LogMuon([matrices, decayed, undecayed], lr=1e-2)


def test_a_head_of_another_name_can_be_spared():
    model = nn.ModuleDict({"body": nn.Linear(3, 3), "to_logits": nn.Linear(3, 7)})
    matrices, decayed, _ = adana.param_groups(model, muon=True, heads="to_logits")
    assert matrices["params"] == [model["body"].weight]
    assert decayed["params"] == [model["to_logits"].weight]


def test_decay_of_matrices_does_not_depend_on_the_learning_rate():
    a, b = parameters(shapes=[(3, 3)]), parameters(shapes=[(3, 3)])
    for params, lr in ((a, 1e-2), (b, 1e-5)):
        optimizer = adana.LogMuon(params, lr=lr, muon=True, total_steps=100)
        params[0].grad = torch.zeros(3, 3)
        optimizer.step()
    expected = parameters(shapes=[(3, 3)])[0] * (1 - schedules.log_time_decay(1, 4.0, 10.0))
    assert torch.allclose(a[0], expected)
    assert same(a, b)


def test_names_that_wrappers_add_do_not_hide_the_head_and_a_pattern_must_match():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.ModuleDict(
                {"_orig_mod": nn.ModuleDict({"body": nn.Linear(3, 3), "lm_head": nn.Linear(3, 7)})}
            )

    model = Wrapped()
    matrices, decayed, _ = adana.param_groups(model, muon=True)
    inner = model.module["_orig_mod"]
    assert matrices["params"] == [inner["body"].weight]
    assert decayed["params"] == [inner["lm_head"].weight]
    with pytest.raises(ValueError, match="matches no parameter"):
        adana.param_groups(model, muon=True, heads="to_logits")


# --- what param_groups guesses --------------------------------------------------------------------


class Vision(nn.Module):
    """A model with tables that are raw parameters, and experts kept as one tensor."""

    def __init__(self, last="head"):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 6))
        self.experts = nn.Parameter(torch.zeros(2, 6, 6))
        self.patches = nn.Conv2d(3, 6, 2)
        self.attention = nn.MultiheadAttention(6, 2)
        self.body = nn.Linear(6, 6)
        self.add_module(last, nn.Linear(6, 3))


HIDDEN = {"patches.weight", "attention.in_proj_weight", "attention.out_proj.weight", "body.weight"}


def orthogonalised(model, **arguments):
    by_id = {id(p): name for name, p in model.named_parameters()}
    groups = adana.param_groups(model, muon=True, **arguments)
    assert sum(len(group["params"]) for group in groups) == len(by_id)
    return {by_id[id(p)] for group in groups if group["muon"] for p in group["params"]}


def test_parameters_of_unknown_modules_are_not_orthogonalised_and_a_warning_names_them():
    with pytest.warns(UserWarning, match="guess. experts: not taken") as seen:
        assert orthogonalised(Vision()) == HIDDEN
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert "output head" not in str(seen[0].message)


def test_the_last_matrix_is_taken_for_a_head_where_no_name_says_so_and_a_warning_names_it():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.warns(UserWarning, match=r"4\.weight is taken for the output head"):
        assert orthogonalised(model) == {"0.weight", "2.weight"}
    with pytest.warns(UserWarning, match=r"to_logits\.weight is taken.*; experts"):
        assert orthogonalised(Vision("to_logits")) == HIDDEN


@pytest.mark.filterwarnings("error")
def test_what_the_user_says_is_not_guessed():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    assert orthogonalised(model, heads="^1") == {"0.weight"}
    assert orthogonalised(model, heads=None) == {"0.weight", "1.weight"}
    with pytest.warns(UserWarning, match="experts: taken for one matrix"):
        chosen = orthogonalised(Vision(), matrices="experts|body|head")
    assert chosen == {"experts", "body.weight"}
    with pytest.raises(ValueError, match="matrices pattern 'mlp' matches no parameter"):
        orthogonalised(model, matrices="mlp")


@pytest.mark.filterwarnings("error")
def test_a_head_tied_to_the_embedding_is_a_head_so_that_nothing_is_guessed():
    model = nn.ModuleDict(
        {
            "embed": nn.Embedding(5, 4),
            "body": nn.Linear(4, 4),
            "lm_head": nn.Linear(4, 5, bias=False),
        }
    )
    model["lm_head"].weight = model["embed"].weight
    assert orthogonalised(model) == {"body.weight"}


@pytest.mark.filterwarnings("error")
def test_linear_modules_of_libraries_are_known_by_their_names():
    class Conv1D(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 3))

    class FastLinear(Conv1D):
        pass

    model = nn.ModuleDict({"a": Conv1D(), "b": FastLinear(), "head": nn.Linear(3, 2)})
    assert orthogonalised(model) == {"a.weight", "b.weight"}


class Experts(nn.Module):
    """Experts as libraries keep them: all in one tensor."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 6)
        self.up = nn.Parameter(torch.ones(4, 6, 12))
        self.conv = nn.Conv1d(6, 6, 3)
        self.lm_head = nn.Linear(6, 10, bias=False)


@pytest.mark.parametrize("options", [{}, {"state_dtype": "fp24"}], ids=["fp32", "fp24"])
def test_a_stack_of_matrices_is_updated_as_each_would_be_alone(options):
    (stack,) = parameters(shapes=[(3, 8, 5)])
    alone = [nn.Parameter(p.detach().clone()) for p in stack]
    together = adana.LogMuon(
        [{"params": [stack], "muon": True, "stack_dims": 1}], lr=1e-2, **options
    )
    apart = adana.LogMuon(alone, lr=1e-2, muon=True, **options)
    for step in range(4):
        set_gradients([stack], step)
        for p, g in zip(alone, stack.grad, strict=True):
            p.grad = g.clone()
        together.step()
        apart.step()
    assert torch.allclose(stack, torch.stack(list(alone)), atol=1e-4 if options else 1e-6)


def test_stacks_are_told_by_name_and_get_a_group_of_their_own():
    model = Experts()
    matrices, stacked, others, rest = adana.param_groups(model, muon=True, stacks=r"^up$")
    assert [tuple(p.shape) for p in matrices["params"]] == [(6, 6, 3)]
    assert (stacked["muon"], stacked["stack_dims"]) == (True, 1)
    assert [tuple(p.shape) for p in stacked["params"]] == [(4, 6, 12)]
    assert (others["muon"], rest["muon"]) == (False, False)
    optimizer = adana.LogMuon([matrices, stacked, others, rest], lr=1.0, omega=0.0)
    before = model.up.detach().clone()
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    values = torch.linalg.svdvals((before - model.up) / (0.2 * 12**0.5))
    assert values.shape == (4, 6)
    assert 0.6 < values.min() <= values.max() < 1.3


def test_what_is_folded_and_was_no_kernel_is_warned_of():
    with pytest.warns(UserWarning, match=r"guess\. up: taken for one matrix.*stacks="):
        adana.param_groups(Experts(), muon=True, matrices="up|conv")
    with pytest.warns(UserWarning, match=r"up: not taken for hidden matrices.*stacks="):
        adana.param_groups(Experts(), muon=True)
    with pytest.raises(ValueError, match=r"matches lm_head\.weight of shape \(10, 6\)"):
        adana.param_groups(Experts(), muon=True, heads=None, stacks="lm_head")
    with pytest.raises(ValueError, match="stacks pattern 'uup' matches no parameter"):
        adana.param_groups(Experts(), muon=True, stacks="uup")


def test_a_state_of_matrices_is_not_taken_for_one_of_stacks():
    (p,) = parameters(shapes=[(3, 4, 5)])
    folded = adana.LogMuon([p], lr=1e-2, muon=True)
    set_gradients([p], 0)
    folded.step()
    saved = folded.state_dict()
    del saved["param_groups"][0]["stack_dims"]  # as before there were stacks
    stacked = adana.LogMuon([{"params": [p], "muon": True, "stack_dims": 1}], lr=1e-2)
    with pytest.raises(ValueError, match=r"trained with stack_dims=0.* built with 1"):
        stacked.load_state_dict(saved)
    saved["param_groups"][0]["stack_dims"] = 1
    stacked.load_state_dict(saved)
    assert stacked.param_groups[0]["stack_dims"] == 1
