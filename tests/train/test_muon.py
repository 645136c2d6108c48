"""Muon as a baseline is torch's, on the matrices, beside torch's AdamW."""

import copy
import pickle

import pytest
import torch

from adana import param_groups
from adana.nn import EnokiConfig, build_model
from adana.train.muon import MuonWithAdamW

ADAMW = {"betas": (0.9, 0.99), "eps": 1e-8}


def small():
    return build_model(EnokiConfig(heads=1, head_dim=8, vocab_size=60, sequence_length=16), 0)


def step(model, *optimizers):
    tokens = torch.randint(60, (2, 17), generator=torch.Generator().manual_seed(0))
    model.zero_grad()
    model(tokens[:, :-1], tokens[:, 1:]).loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def same(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def test_its_steps_are_those_of_the_two_that_torch_has():
    one, two = small(), small()
    both = MuonWithAdamW(one, 1e-2, 0.1, ADAMW)
    matrices, *rest = param_groups(two, muon=True)
    muon = torch.optim.Muon([matrices], 1e-2, 0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, 1e-2, weight_decay=0.1, **ADAMW)
    for _ in range(3):
        step(one, both)
        step(two, muon, adamw)
    assert same(one, two)
    assert len(both.state) == len(list(one.parameters()))


def test_a_loaded_state_goes_on_with_the_same_steps():
    one = small()
    first = MuonWithAdamW(one, 1e-2, 0.1, ADAMW)
    step(one, first)
    two = copy.deepcopy(one)
    second = MuonWithAdamW(two, 1.0, 0.0, ADAMW)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(2):
        step(one, first)
        step(two, second)
    assert same(one, two)


def test_a_closure_is_called_once_and_its_loss_returned():
    optimizer = MuonWithAdamW(small(), 1e-2, 0.1, ADAMW)
    calls = []
    assert optimizer.step(lambda: calls.append(1) or 3.0) == 3.0
    assert calls == [1]


def test_a_copy_and_a_pickled_one_go_on_with_the_same_steps():
    one = small()
    first = MuonWithAdamW(one, 1e-2, 0.1, ADAMW)
    step(one, first)
    for again in (copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))):
        two, second = again((one, first))
        step(two, second)
        three = copy.deepcopy(one)
        third = MuonWithAdamW(three, 1.0, 0.0, ADAMW)
        third.load_state_dict(copy.deepcopy(first.state_dict()))
        step(three, third)
        assert same(two, three)
        assert not same(two, one)


@pytest.mark.parametrize(
    ("lr", "adamw"), [(-1.0, ADAMW), (1e-2, {**ADAMW, "betas": (2.0, 0.99)})], ids=["lr", "betas"]
)
def test_numbers_out_of_range_are_refused(lr, adamw):
    with pytest.raises(ValueError, match=r"(?i)learning rate|beta"):
        MuonWithAdamW(small(), lr, 0.1, adamw)
