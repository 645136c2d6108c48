"""What every optimizer of the family promises, whatever its schedules."""

import copy
import io
import itertools
import math
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adana
from adana import schedules
from adana.optim import scratch, work
from adana.optim.base import LogTimeOptimizer

from .conftest import CONFIGURATIONS, parameters, run, same, set_gradients


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(CONFIGURATIONS)),
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=4),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    missing=st.lists(st.sets(st.integers(0, 3)), min_size=4, max_size=4),
    lr_scale=st.sampled_from([1.0, 0.1]),
    omega=st.sampled_from([0.0, 1.0, 4.0]),
    maximize=st.booleans(),
)
def test_foreach_equals_single_tensor(name, shapes, dtype, missing, lr_scale, omega, maximize):
    results = []
    for foreach in (False, True):
        params = parameters(dtype, shapes)
        groups = [
            {"params": params[::2], "omega": omega},
            {"params": params[1::2], "lr": 1e-2 * lr_scale},
        ]
        groups = [group for group in groups if group["params"]]
        optimizer = CONFIGURATIONS[name](groups, foreach=foreach, maximize=maximize)
        for step, absent in enumerate(missing):
            set_gradients(params, step, absent)
            optimizer.step()
        results.append(params)
    for single, foreach in zip(*results, strict=True):
        assert torch.equal(single, foreach)


def test_resuming_from_a_state_dict_continues_bit_for_bit(make):
    for dtype in (torch.float32, torch.bfloat16):
        whole = parameters(dtype)
        run(make, whole, 8)
        stopped = parameters(dtype)
        optimizer = run(make, stopped, 5)
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)
        resumed = [torch.nn.Parameter(p.detach().clone()) for p in stopped]
        again = make(resumed, lr=5e-3)  # the checkpoint decides, not the constructor
        again.load_state_dict(saved)
        run(make, resumed, 3, start=5, optimizer=again)
        assert same(whole, resumed)


def test_loading_does_not_share_memory_with_the_state_dict(make):
    params = parameters()
    optimizer = run(make, params, 2)
    saved = optimizer.state_dict()
    other = make(parameters())
    other.load_state_dict(copy.deepcopy(saved))
    before = saved["state"][0]["m"].clone()
    run(make, other.param_groups[0]["params"], 2, start=2, optimizer=other)
    assert torch.equal(saved["state"][0]["m"], before)


def test_state_is_float32_or_wider_and_counts_steps_exactly(make):
    for dtype, expected in [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float64, torch.float64),
    ]:
        params = parameters(dtype)
        optimizer = run(make, params, 3)
        for p in params:
            state = optimizer.state[p]
            muon = "muon" in optimizer.defaults and optimizer.orthogonalised(
                optimizer.param_groups[0], p
            )
            names = ("m",) if muon else make.state
            assert set(state) == {"step", *names}
            assert {state[name].dtype for name in names} == {expected}
            assert {state[name].shape for name in names} == {p.shape}
            assert state["step"].dtype == torch.int64
            assert state["step"].item() == 3
            assert p.dtype == dtype


def test_low_precision_parameters_follow_the_float32_update_rounded_once(make):
    low, high = parameters(torch.bfloat16, [(64,)]), parameters(torch.bfloat16, [(64,)])
    set_gradients(low, 0)
    make(low, bf16_weights="nearest").step()
    wide = torch.nn.Parameter(high[0].detach().float())
    wide.grad = low[0].grad.float()
    make([wide]).step()
    assert torch.equal(low[0].detach(), wide.detach().bfloat16())


def test_a_parameter_without_gradient_keeps_value_and_step(make):
    params = parameters()
    before = params[1].detach().clone()
    optimizer = make(params)
    for step in range(3):
        set_gradients(params, step, missing={1})
        optimizer.step()
    assert torch.equal(params[1], before)
    assert params[1] not in optimizer.state
    set_gradients(params, 3)
    optimizer.step()  # it starts at t = 1 while the others are at t = 4
    assert optimizer.state[params[1]]["step"] == 1
    assert optimizer.state[params[0]]["step"] == 4


def test_zero_learning_rate_and_gradient_change_no_weight(make):
    params = parameters()
    optimizer = make(params, peak_lr=1e-2)
    before = [p.detach().clone() for p in params]
    optimizer.param_groups[0]["lr"] = 0.0
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert same(before, params)


def test_maximize_is_minimizing_the_negative(make):
    up, down = parameters(), parameters()
    a, b = make(up, maximize=True), make(down)
    for step in range(3):
        set_gradients(up, step)
        set_gradients(down, step)
        for p in down:
            p.grad.neg_()
        a.step()
        b.step()
    assert same(up, down)


def test_closure_is_evaluated_with_gradients_and_its_loss_returned(make):
    params = parameters(shapes=[(4,)])
    optimizer = make(params)

    def closure():
        optimizer.zero_grad()
        loss = params[0].square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    for _ in range(20):
        last = optimizer.step(closure)
    assert last.item() < first.item()


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_cutting_the_work_into_pieces_and_slices_changes_nothing(make, monkeypatch, limit):
    together, apart = parameters(), parameters()
    monkeypatch.setattr(work, "PIECE_ON_CPU", limit)
    monkeypatch.setattr(work, "SLICE_ON_CPU", limit)
    run(make, together, 3, foreach=True)
    run(make, apart, 3, foreach=False)
    assert same(together, apart)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_large_parameters_are_updated_in_slices_where_all_lie_alike(make, monkeypatch, layout):
    """A gradient of another layout than the weight leaves the parameter whole."""
    sliced, single = parameters(shapes=[(3, 4, 5, 2)]), parameters(shapes=[(3, 4, 5, 2)])
    monkeypatch.setattr(work, "SLICE_ON_CPU", 50)
    monkeypatch.setattr(scratch, "LARGE", 1)
    for params, options in ((sliced, {"foreach": True}), (single, {"foreach": False})):
        (p,) = params
        p.data = p.data.to(memory_format=torch.channels_last)
        optimizer = make(params, **options)
        for step in range(3):
            set_gradients(params, step)
            p.grad = p.grad.to(memory_format=layout)
            optimizer.step()
    assert same(sliced, single)


def test_groups_have_their_own_hyperparameters():
    a, b = parameters(shapes=[(3,), (3,)])
    b.data.copy_(a.data)
    optimizer = adana.ADana(
        [{"params": [a], "kappa": 0.75, "delta": 4.0}, {"params": [b]}], lr=1e-2
    )
    for step in range(4):
        for p in (a, b):
            p.grad = torch.full((3,), float(step + 1))
        optimizer.step()
    assert not torch.equal(a, b)
    assert [g["kappa"] for g in optimizer.param_groups] == [0.75, 0.85]


def test_decay_is_independent_of_a_groups_learning_rate():
    a, b = parameters(shapes=[(3,), (3,)])
    b.data.copy_(a.data)
    optimizer = adana.ADana([{"params": [a], "lr": 1e-2}, {"params": [b], "lr": 1e-4}], lr=1e-2)
    for p in (a, b):
        p.grad = torch.zeros(3)
    optimizer.step()
    assert torch.equal(a, b)


SCHEDULERS = {
    "LambdaLR": lambda o: torch.optim.lr_scheduler.LambdaLR(
        o, lambda k: schedules.warmup_cosine(k + 1, 20, 4)
    ),
    "CosineAnnealingLR": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
    "OneCycleLR": lambda o: torch.optim.lr_scheduler.OneCycleLR(
        o, max_lr=5e-2, total_steps=20, cycle_momentum=False
    ),
    "SequentialLR": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [
            torch.optim.lr_scheduler.LinearLR(o, 0.01, total_iters=4),
            torch.optim.lr_scheduler.CosineAnnealingLR(o, 16),
        ],
        milestones=[4],
    ),
    "ReduceLROnPlateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_torch_schedulers_work_unchanged(make, scheduler):
    params = parameters(shapes=[(3,)])
    optimizer = make(params)
    schedule = SCHEDULERS[scheduler](optimizer)
    peak = 5e-2 if scheduler == "OneCycleLR" else 1e-2
    for step in range(19):
        gamma = optimizer.gamma(optimizer.param_groups[0])
        assert gamma == pytest.approx(optimizer.param_groups[0]["lr"] / peak)
        assert 0 <= gamma <= 1 + 1e-9
        set_gradients(params, step)
        optimizer.step()
        schedule.step(*([1.0] if scheduler == "ReduceLROnPlateau" else []))


def test_resuming_with_a_lower_learning_rate_does_not_scale_decay_up():
    params = parameters(shapes=[(3,)])
    saved = run(CONFIGURATIONS["adana"], params, 2).state_dict()
    other = adana.ADana(parameters(shapes=[(3,)]), lr=1e-3, total_steps=100)
    other.load_state_dict(saved)
    assert other.gamma(other.param_groups[0]) == 1.0


def test_a_learning_rate_above_its_peak_is_refused():
    params = parameters(shapes=[(3,)])
    optimizer = adana.ADana(params, lr=1e-3)
    optimizer.param_groups[0]["lr"] = 2e-3
    set_gradients(params, 0)
    with pytest.raises(ValueError, match="peak_lr"):
        optimizer.step()


def test_optimizers_can_be_copied_and_pickled(make):
    params = parameters()
    optimizer = run(make, params, 2)
    for clone in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        twins = [p for group in clone.param_groups for p in group["params"]]
        originals = parameters()
        reference = run(make, originals, 2)
        for params_ in (twins, originals):
            set_gradients(params_, 2)
        clone.step()
        reference.step()
        assert same(twins, originals)


def test_a_pickle_from_before_a_hyperparameter_existed_gets_its_default():
    optimizer = adana.ADana(parameters(), lr=1e-2)
    state = optimizer.__getstate__()
    for group in state["param_groups"]:
        del group["momentum_scale"]
    older = adana.ADana.__new__(adana.ADana)
    older.__setstate__(state)
    assert older.param_groups[0]["momentum_scale"] == 1.0


def test_a_scalar_runs_ten_million_steps_without_drift():
    """Counters stay exact and the schedules finite at the horizon of the largest runs."""
    (p,) = parameters(torch.float32, [()])
    optimizer = adana.ADana([p], lr=1e-6, total_steps=10**7)
    p.grad = torch.tensor(1.0)
    optimizer.step()
    optimizer.state[p]["step"].fill_(10**7 - 1)
    optimizer.step()
    assert optimizer.state[p]["step"] == 10**7
    h = optimizer.hyper(optimizer.param_groups[0], 10**7)
    assert h.ema_m == 8 / (8 + 10**7)
    assert math.isfinite(p.item())


def test_no_global_setting_changes_on_import():
    code = (
        "import torch; before = (torch.get_default_dtype(), torch._dynamo.config.cache_size_limit);"
        "import adana, sys; adana.ADana;"
        "assert before == (torch.get_default_dtype(), torch._dynamo.config.cache_size_limit);"
        "heavy = {'scipy', 'altair', 'tokenizers', 'tyro', 'rich', 'jinja2'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- bad input ------------------------------------------------------------------------------------

BAD = [
    ({"lr": 0.0}, "lr"),
    ({"lr": -1.0}, "lr"),
    ({"lr": math.nan}, "lr"),
    ({"lr": math.inf}, "lr"),
    ({"omega": -1.0}, "omega"),
    ({"omega": math.inf}, "omega"),
    ({"eps": -1e-8}, "eps"),
    ({"peak_lr": 0.0}, "peak_lr"),
    ({"total_steps": 0}, "total_steps"),
    ({"decay_offset": -1.0}, "decay_offset"),
    ({"omega": 4.0, "decay_offset": 1.0}, "decay_offset"),
]
BAD_ADANA = [
    ({"kappa": 1.5}, "kappa"),
    ({"kappa": -0.1}, "kappa"),
    ({"kappa": math.nan}, "kappa"),
    ({"delta": 0.0}, "delta"),
    ({"delta": "8"}, "delta"),
    ({"momentum_scale": -1.0}, "momentum_scale"),
    ({"variant": "papper"}, "variant"),
    ({"first_step": 2}, "first_step"),
]
BAD_ADAMW = [
    ({"betas": (0.9, 1.0)}, "beta2"),
    ({"betas": (-0.1, 0.9)}, "beta1"),
    ({"betas": (0.9,)}, "betas"),
    ({"decay_order": "during"}, "decay_order"),
]


@pytest.mark.parametrize(
    ("cls", "arguments", "name"),
    [(c, *b) for c, b in itertools.product([adana.ADana, adana.LogAdamW], BAD)]
    + [(adana.ADana, *b) for b in BAD_ADANA]
    + [(adana.LogAdamW, *b) for b in BAD_ADAMW],
)
def test_hyperparameters_out_of_range_are_refused_by_name(cls, arguments, name):
    with pytest.raises(ValueError, match=name):
        cls(parameters(), **{"lr": 1e-2, **arguments})
    if "lr" not in arguments:
        with pytest.raises(ValueError, match=name):
            cls([{"params": parameters(), **arguments}], lr=1e-2)


def test_weight_decay_in_a_group_is_refused_unless_it_is_zero():
    with pytest.raises(ValueError, match="omega"):
        adana.ADana([{"params": parameters(), "weight_decay": 0.1}], lr=1e-2)
    bias, matrix = parameters(shapes=[(2,), (2, 3)])
    groups = [{"params": [matrix]}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = adana.ADana(groups, lr=1e-2)
    assert [group["omega"] for group in optimizer.param_groups] == [4.0, 0.0]


def test_sparse_gradients_and_complex_parameters_are_refused():
    embedding = torch.nn.Embedding(5, 2, sparse=True)
    optimizer = adana.ADana(embedding.parameters(), lr=1e-2)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
    with pytest.raises(RuntimeError, match="complex"):
        adana.ADana([torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))], lr=1e-2)


@pytest.mark.parametrize(
    ("total_steps", "omega", "expected"),
    [(1000, 4.0, 100.0), (None, 4.0, 400.0), (None, 1.0, 100.0), (20, 4.0, 4.0), (None, 0.0, 0.0)],
)
def test_default_decay_offset(total_steps, omega, expected):
    optimizer = adana.ADana(parameters(), lr=1e-2, total_steps=total_steps, omega=omega)
    group = optimizer.param_groups[0]
    assert group["decay_offset"] == expected
    assert optimizer.hyper(group, 1).decay < 1
    if total_steps is None:
        assert optimizer.hyper(group, 1).decay <= 0.01


def test_the_base_class_asks_for_a_schedule():
    class Unfinished(LogTimeOptimizer):
        pass

    settings_ = {
        "omega": 0.0, "total_steps": None, "decay_offset": None, "eps": 1e-8,
        "decay_order": "before", "peak_lr": None, "foreach": None, "maximize": False,
    }  # fmt: skip
    params = parameters(shapes=[(2,)])
    set_gradients(params, 0)
    with pytest.raises(NotImplementedError, match="hyper"):
        Unfinished(params, 1e-2, **settings_).step()
