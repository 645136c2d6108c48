"""torch.distributed.checkpoint: state dicts by name, and resuming on other numbers of ranks."""

import functools

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from adana import schedules

from .test_fsdp import sharded
from .test_tensor_parallel import sharded_both_ways
from .training import (
    DECAYED,
    EXACT,
    FAST,
    OPTIMIZERS,
    PEAK,
    TORCH_2_9,
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

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

FRESH = {"lr": PEAK / 20, "omega": 2.0, "total_steps": 50}
"""What a fresh optimizer is built with; the checkpoint's values must replace it."""

# --- in memory ------------------------------------------------------------------------------------

OPTIONS = {
    "nested": {},
    "flat": {"flatten_optimizer_state_dict": True},
    "on the CPU": {"cpu_offload": True},
    "whole": {"full_state_dict": True},
    "whole on rank 0": {"full_state_dict": True, "cpu_offload": True},
}


def hand_over(name, options, dtype=torch.float64, **overrides):
    """Train, hand weights and state to fresh ones, and go on with those."""
    model = sharded(dtype)
    optimizer = optimizer_for(name, model, **overrides)
    train(model, optimizer, range(3), **my_part())
    state_dict = get_optimizer_state_dict(model, optimizer, options=StateDictOptions(**options))
    fresh_model = sharded(dtype)
    set_model_state_dict(fresh_model, get_model_state_dict(model))
    fresh = optimizer_for(name, fresh_model, **FRESH)
    rank_0_only = "full_state_dict" in options and "cpu_offload" in options
    loading = StateDictOptions(**options, broadcast_from_rank0=rank_0_only)
    set_optimizer_state_dict(fresh_model, fresh, state_dict, options=loading)
    before, after = states_of(model, optimizer), states_of(fresh_model, fresh)
    settings = settings_of(optimizer), settings_of(fresh)
    for p, state in fresh.state.items():
        assert all(x.placements == p.placements for x in state.values() if x.ndim)
    train(fresh_model, fresh, range(3, 6), **my_part())
    return before, after, settings, weights_of(fresh_model), len(state_dict)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["ADana", "AdEMAMix", "LogMuon", DECAYED])
def test_a_fresh_optimizer_goes_on_from_the_state_dict(worlds, name, options):
    answers = worlds(2).run(hand_over, name, OPTIONS[options])
    for before, after, (old, new), weights, _ in answers:
        assert_identical(after, before)
        assert old == new
        assert_same_weights(weights, train_alone(name, 6), EXACT)
    if options == "whole on rank 0":
        assert [length for *_, length in answers] == [2, 0]


@pytest.mark.parametrize("options", OPTIONS)
def test_float32_states_of_bfloat16_parameters_keep_every_bit(worlds, options):
    for before, after, *_ in worlds(2).run(hand_over, "ADana", OPTIONS[options], torch.bfloat16):
        assert after["head.weight.m"].dtype == torch.float32
        assert not torch.equal(after["head.weight.m"], after["head.weight.m"].bfloat16().float())
        assert_identical(after, before)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_tensor_learning_rate_and_capturable_counters_survive(worlds, options):
    overrides = {"lr": torch.tensor(PEAK, dtype=torch.float64), "capturable": True}
    function = functools.partial(hand_over, "ADana", OPTIONS[options], **overrides)
    for before, after, (old, new), weights, _ in worlds(2).run(function):
        assert_identical(after, before)
        assert after["head.weight.step"].dtype == torch.int64
        assert old == new
        assert isinstance(new[0]["lr"], torch.Tensor)
        assert_same_weights(weights, train_alone("ADana", 6))


def ask_before_the_first_step(name):
    model = sharded()
    before = weights_of(model)
    optimizer = optimizer_for(name, model)
    state_dict = get_optimizer_state_dict(model, optimizer)
    expected = {f"{key}.{n}" for key, p in model.named_parameters() for n in optimizer.state[p]}
    listed = {f"{key}.{n}" for key, state in state_dict["state"].items() for n in state}
    moments = {k: v for k, v in states_of(model, optimizer).items() if not k.endswith(".step")}
    return before, weights_of(model), expected, listed, moments


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_asking_a_new_optimizer_for_its_state_changes_no_weight(worlds, name):
    for before, after, expected, listed, moments in worlds(2).run(ask_before_the_first_step, name):
        assert_identical(after, before)
        assert listed == expected
        assert len(moments) >= len(before)
        assert not any(value.any() for value in moments.values())


# --- on disk, on other numbers of ranks -----------------------------------------------------------

WARM_UP, TOTAL = 4, 12
STOPS = (0, 3, 6, 9)
"""The schedule is still rising at the first stop and falling at the second."""


def with_schedule(optimizer):
    shape = functools.partial(schedules.warmup_cosine, total_steps=TOTAL, warmup_steps=WARM_UP)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: shape(done + 1))


def contents(model, optimizer, schedule, options):
    return {
        "model": get_model_state_dict(model),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=options),
        "schedule": schedule.state_dict(),
    }


def stage(name, number, folder, model, part, parts, flat=False):
    """Train from one stop to the next, from the checkpoint of the one to that of the other."""
    first, last = STOPS[number], STOPS[number + 1]
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    optimizer = optimizer_for(name, model, **(FRESH if number else {}))
    schedule = with_schedule(optimizer)
    loaded = None
    if number:
        saved = contents(model, optimizer, schedule, options)
        dcp.load(saved, checkpoint_id=f"{folder}/{first}")
        set_model_state_dict(model, saved["model"])
        set_optimizer_state_dict(model, optimizer, saved["optimizer"], options=options)
        schedule.load_state_dict(saved["schedule"])
        loaded = states_of(model, optimizer), settings_of(optimizer)
    train(model, optimizer, range(first, last), part, parts, after_step=schedule.step)
    saved = contents(model, optimizer, schedule, options)
    dcp.save(saved, checkpoint_id=f"{folder}/{last}")
    left = states_of(model, optimizer), settings_of(optimizer)
    gammas = [optimizer.gamma(group) for group in optimizer.param_groups]
    return loaded, left, gammas, weights_of(model)


def stage_on_ranks(name, number, folder, flat=False):
    return stage(name, number, folder, sharded(), **my_part(), flat=flat)


def stage_both_ways(name, number, folder):
    model, part = sharded_both_ways()
    return stage(name, number, folder, model, part, parts=2)


def stage_alone(name, number, folder, flat=False):
    return [stage(name, number, folder, classifier(), part=0, parts=1, flat=flat)]


def train_alone_on_schedule(name, steps):
    model = classifier()
    optimizer = optimizer_for(name, model)
    train(model, optimizer, range(steps), after_step=with_schedule(optimizer).step)
    return weights_of(model)


def assert_one_trajectory(name, stages):
    """What the ranks of all stages did is one training, and loading lost nothing."""
    for number, ranks in enumerate(stages):
        steps = STOPS[number + 1]
        expected = train_alone_on_schedule(name, steps)
        due = schedules.warmup_cosine(steps + 1, TOTAL, WARM_UP)
        for loaded, (states, _), gammas, weights in ranks:
            assert_same_weights(weights, expected, EXACT)
            assert gammas == pytest.approx([due] * len(gammas), rel=1e-12)
            assert {states[key].item() for key in states if key.endswith(".step")} == {steps}
            if number:
                saved_states, saved_settings = stages[number - 1][0][1]
                assert_identical(loaded[0], saved_states)
                assert loaded[1] == saved_settings


@pytest.mark.parametrize(
    ("name", "flat"),
    [(name, False) for name in sorted(FAST)]
    + [("ADana", True), ("AdEMAMix", True)]
    + [pytest.param(n, False, marks=pytest.mark.exhaustive) for n in OPTIMIZERS if n not in FAST],
)
def test_checkpoints_of_4_ranks_go_on_with_2_and_then_with_1(worlds, tmp_path, name, flat):
    stages = [
        worlds(4).run(stage_on_ranks, name, 0, str(tmp_path), flat),
        worlds(2).run(stage_on_ranks, name, 1, str(tmp_path), flat),
        stage_alone(name, 2, tmp_path, flat),
    ]
    assert_one_trajectory(name, stages)


@split_twice
@pytest.mark.parametrize("name", ["ADana", "LogMuon"])
def test_checkpoints_move_between_tensor_parallel_and_one_process(worlds, tmp_path, name):
    stages = [
        worlds(4).run(stage_both_ways, name, 0, str(tmp_path)),
        stage_alone(name, 1, tmp_path),
        worlds(4).run(stage_both_ways, name, 2, str(tmp_path)),
    ]
    assert_one_trajectory(name, stages)


# --- checkpoints that lack something --------------------------------------------------------------


def load_without_an_entry(name, folder):
    """Save what an older version would have, and load it with and without leave to miss some."""
    model = sharded()
    optimizer = optimizer_for(name, model)
    train(model, optimizer, range(3), **my_part())
    saved = get_optimizer_state_dict(model, optimizer)
    for group in saved["param_groups"]:
        del group["momentum_cooldown"]
    dcp.save(saved, checkpoint_id=folder)
    optimizer.zero_grad()  # torch creates no state to load into where there are gradients
    fresh = optimizer_for(name, model, **FRESH)
    template = get_optimizer_state_dict(model, fresh)
    try:
        dcp.load(template, checkpoint_id=folder)
        complaint = ""
    except CheckpointException as error:
        complaint = str(error)
    planner = dcp.DefaultLoadPlanner(allow_partial_load=True)
    dcp.load(template, checkpoint_id=folder, planner=planner)
    set_optimizer_state_dict(model, fresh, template)
    train(model, fresh, range(3, 6), **my_part())
    return complaint, weights_of(model)


def test_checkpoints_from_before_a_hyperparameter_load_when_allowed_to(worlds, tmp_path):
    for complaint, found in worlds(2).run(load_without_an_entry, "ADana", str(tmp_path)):
        assert "momentum_cooldown" in complaint
        assert_same_weights(found, train_alone("ADana", 6))


def load_without_a_state(name, folder):
    model = sharded()
    optimizer = optimizer_for(name, model)
    train(model, optimizer, range(3), **my_part())
    saved = get_optimizer_state_dict(model, optimizer)
    del saved["state"]["head.weight"]
    dcp.save(saved, checkpoint_id=folder)
    optimizer.zero_grad()
    fresh = optimizer_for(name, model, **FRESH)
    template = get_optimizer_state_dict(model, fresh)
    planner = dcp.DefaultLoadPlanner(allow_partial_load=True)
    dcp.load(template, checkpoint_id=folder, planner=planner)
    set_optimizer_state_dict(model, fresh, template)
    return states_of(model, optimizer), states_of(model, fresh)


def test_a_state_missing_in_the_checkpoint_stays_new_when_allowed_to(worlds, tmp_path):
    for saved, loaded in worlds(2).run(load_without_a_state, "ADana", str(tmp_path)):
        missing = {f"head.weight.{key}" for key in ("m", "v", "step")}
        assert not loaded["head.weight.m"].any()
        assert not loaded["head.weight.v"].any()
        assert loaded["head.weight.step"] <= 1
        rest = saved.keys() - missing
        assert_identical({key: loaded[key] for key in rest}, {key: saved[key] for key in rest})


def hand_over_before_all_had_gradients(name):
    """The head is frozen for 3 steps; then a fresh optimizer takes over and all is trained."""
    model = sharded()
    optimizer = optimizer_for(name, model)
    train(model, optimizer, range(3), **my_part(), before_step=lambda: forget_head(model))
    state_dict = get_optimizer_state_dict(model, optimizer)
    optimizer.zero_grad()
    fresh = optimizer_for(name, model, **FRESH)
    loading = StateDictOptions(strict=False)
    set_optimizer_state_dict(model, fresh, state_dict, options=loading)
    train(model, fresh, range(3, 6), **my_part())
    return weights_of(model), fresh.state[model.head.weight]["step"].item()


def forget_head(model):
    model.head.weight.grad = None


@pytest.mark.skipif(TORCH_2_9, reason="torch 2.9 refuses a state that lacks a parameter")
def test_a_parameter_without_state_in_the_checkpoint_starts_at_its_own_first_step(worlds):
    model = classifier()
    optimizer = optimizer_for("ADana", model)
    train(model, optimizer, range(3), before_step=lambda: forget_head(model))
    train(model, optimizer, range(3, 6))
    for found, steps in worlds(2).run(hand_over_before_all_had_gradients, "ADana"):
        assert steps == 3
        assert_same_weights(found, weights_of(model))


def schedule_after_load(name, folder, flat):
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model = sharded()
    optimizer = optimizer_for(name, model)
    schedule = with_schedule(optimizer)
    train(model, optimizer, range(8), **my_part(), after_step=schedule.step)
    saved = {"optimizer": get_optimizer_state_dict(model, optimizer, options=options)}
    dcp.save(saved, checkpoint_id=folder)
    optimizer.zero_grad()  # torch creates no state to load into where there are gradients
    fresh = optimizer_for(name, model, **FRESH)
    template = {"optimizer": get_optimizer_state_dict(model, fresh, options=options)}
    dcp.load(template, checkpoint_id=folder)
    set_optimizer_state_dict(model, fresh, template["optimizer"], options=options)
    late = with_schedule(fresh)
    late.load_state_dict(schedule.state_dict())
    gammas = []
    for _ in range(2):
        schedule.step()
        late.step()
        gammas.append([each.gamma(each.param_groups[0]) for each in (optimizer, fresh)])
    return gammas


@pytest.mark.parametrize("flat", [False, True])
def test_a_scheduler_built_after_the_load_does_not_scale_decay_up(worlds, tmp_path, flat):
    for gammas in worlds(2).run(schedule_after_load, "ADana", str(tmp_path), flat):
        for expected, found in gammas:
            assert expected < 0.5, "the schedule must be on its way down"
            assert found == pytest.approx(expected, rel=1e-12)
