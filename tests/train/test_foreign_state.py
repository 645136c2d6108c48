"""What optimizers of other packages remember comes back as it was, or is refused."""

import collections
import json
import math

import numpy as np
import pytest
import torch

from adana.runs import RunError, json_text
from adana.train.foreign_state import ForeignState

from .results import flat

Point = collections.namedtuple("Point", "x y")


class Odd(torch.optim.SGD):
    """Remembers whatever a test gives it."""

    def __init__(self, model):
        super().__init__(model.parameters(), lr=1.0)
        self.note, self.about, self._hidden = 0, object(), [1]


def made():
    model = torch.nn.Linear(3, 2)
    optimizer = Odd(model)
    return model, optimizer, ForeignState(model, optimizer)


def restored(foreign):
    """Save, and read into an optimizer that has just been made."""
    structure, tensors = foreign.saved()
    structure = json.loads(json_text(structure))
    model, optimizer, fresh = made()
    room = fresh.room(structure)
    assert room.keys() == tensors.keys()
    for name, x in room.items():
        assert (x.shape, x.dtype) == (tensors[name].shape, tensors[name].dtype)
        x.copy_(tensors[name])
    fresh.restore(structure, room)
    return model, optimizer


def assert_same(a, b):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for key, x in a.items():
        y = b[key]
        assert type(x) is type(y), key
        assert x.equal(y) if isinstance(x, torch.Tensor) else x == y, key


STATES = {
    "dtypes": {
        "step": torch.tensor(3),
        "codes": torch.arange(6, dtype=torch.uint8).reshape(2, 3),
        "small": torch.ones(2, dtype=torch.bfloat16),
        "wide": torch.ones(2, 3, dtype=torch.float64) / 3,
        "flag": torch.tensor(True),
    },
    "numbers": {"k": 3, "x": 0.1, "on": True, "none": None, "word": "abc", "inf": -math.inf},
    "nested": {"a": [1, (2, torch.ones(2))], 3: {"b": []}, "empty": {}, "no": torch.ones(0)},
    "names that meet": {"a": {"b": torch.ones(2)}, "a.b": torch.zeros(3)},
    "a slice that is not in order": {"m": torch.arange(12.0).reshape(3, 4).T},
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_comes_back_with_its_types(name):
    model, optimizer, foreign = made()
    optimizer.state[model.weight] = STATES[name]
    optimizer.state["all"] = {"seen": 7}
    again, other = restored(foreign)
    assert_same(other.state[again.weight], STATES[name])
    assert other.state["all"] == {"seen": 7}
    assert again.bias not in other.state


def test_groups_and_attributes_come_back_but_not_the_learning_rate():
    _, optimizer, foreign = made()
    optimizer.param_groups[0].update(lr=0.5, k=[1, 2], seen=torch.tensor(2.0), momentum=0.25)
    optimizer.note, optimizer.late = 5, "new"
    _, other = restored(foreign)
    (group,) = other.param_groups
    assert (group["k"], group["seen"].item(), group["momentum"]) == ([1, 2], 2.0, 0.25)
    assert group["lr"] == 1.0
    assert (other.note, other.late) == (5, "new")


def test_random_numbers_go_on_from_where_they_were():
    model, optimizer, foreign = made()
    optimizer._own = torch.Generator().manual_seed(3)
    optimizer.many = {"first": [torch.Generator().manual_seed(5)]}
    optimizer.state[model.weight] = {"each": torch.Generator().manual_seed(4)}

    def generators_of(model, optimizer):
        mine = optimizer._own, optimizer.many["first"][0], optimizer.state[model.weight]["each"]
        return (*mine, torch.default_generator)

    generators = generators_of(model, optimizer)
    [torch.rand(3, generator=each) for each in generators]
    structure, tensors = foreign.saved()
    tensors = {name: x.clone() for name, x in tensors.items()}
    expected = [torch.rand(3, generator=each) for each in generators]
    again, other, fresh = made()
    other._own, other.many = torch.Generator(), {"first": [torch.Generator()]}
    kept = other._own, other.many["first"][0]
    fresh.restore(structure, tensors)
    drawn = generators_of(again, other)
    assert drawn[0] is kept[0]  # whoever else holds it draws from the same numbers
    assert drawn[1] is kept[1]
    for each, x in zip(drawn, expected, strict=True):
        assert torch.rand(3, generator=each).equal(x)


def test_a_generator_in_several_places_is_still_one():
    model, optimizer, foreign = made()
    optimizer.own = shared = torch.Generator().manual_seed(3)
    optimizer.state[model.weight] = {"g": [shared], "torch": torch.default_generator}
    optimizer.state[model.bias] = {"g": shared}
    structure, tensors = foreign.saved()
    again, other, fresh = made()
    fresh.restore(structure, tensors)
    assert other.state[again.weight]["g"][0] is other.state[again.bias]["g"] is other.own
    assert other.state[again.weight]["torch"] is torch.default_generator


def test_a_generator_of_a_device_that_is_not_here_is_named():
    _, optimizer, foreign = made()
    optimizer.own = torch.Generator()
    structure, tensors = foreign.saved()
    structure["attributes"]["own"]["device"] = "xpu"
    with pytest.raises(RunError, match=r"optimizer\.attributes\.own .* random numbers on xpu"):
        made()[2].restore(structure, tensors)


def test_a_checkpoint_without_random_numbers_is_read():
    _, optimizer, foreign = made()
    optimizer.note = 5
    structure, _ = foreign.saved()
    del structure["random"]
    _, other, fresh = made()
    fresh.restore(structure, fresh.room(structure))
    assert other.note == 5


def test_a_tensor_in_several_places_is_still_one():
    model, optimizer, foreign = made()
    shared = torch.ones(4)
    optimizer.state[model.weight], optimizer.state[model.bias] = {"q": shared}, {"q": [shared]}
    again, other = restored(foreign)
    assert other.state[again.weight]["q"] is other.state[again.bias]["q"][0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1}, r"Odd keeps a builtins\.set in weight\.x\. A checkpoint can hold"),
        ([Point(1, 2)], r"Point in weight\.x\.0"),
        (collections.deque([1]), r"collections\.deque in weight\.x"),
        (np.float64(1.0), r"numpy\.float64 in weight\.x"),
        ({(1, 2): 3}, r"builtins\.dict in weight\.x"),
    ],
)
def test_what_cannot_be_held_is_named(value, message):
    model, optimizer, foreign = made()
    optimizer.state[model.weight] = {"x": value}
    with pytest.raises(RunError, match=message):
        foreign.saved()


def test_views_of_each_other_are_refused():
    model, optimizer, foreign = made()
    whole = torch.zeros(4)
    optimizer.state[model.weight] = {"a": whole[:2], "b": whole[2:]}
    with pytest.raises(RunError, match=r"Tensor in weight\.b, which shares memory with another"):
        foreign.saved()
    optimizer.state[model.weight] = {"master": model.weight.data}
    with pytest.raises(RunError, match=r"in weight\.master, which shares memory"):
        foreign.saved()


def test_a_key_that_is_no_parameter_is_refused():
    _, optimizer, foreign = made()
    optimizer.state[torch.zeros(2)] = {"x": 1}
    with pytest.raises(RunError, match="in the keys of its state"):
        foreign.saved()


@pytest.mark.parametrize("where", ["group", "attribute"])
def test_an_object_may_stay_but_not_change(where):
    _, optimizer, foreign = made()
    foreign.saved()
    if where == "group":
        optimizer.param_groups[0]["about"] = object()
    else:
        optimizer.about = object()
    with pytest.raises(RunError, match=r"builtins\.object in .*\.about"):
        foreign.saved()


@pytest.mark.parametrize("on", ["cpu", "meta"])
def test_tensors_are_where_the_weights_are_now_but_for_counters_that_were_not(on):
    """The device `meta` stands for a GPU."""
    model, optimizer, foreign = made()
    optimizer.state[model.weight] = {"m": torch.zeros_like(model.weight), "step": torch.tensor(1.0)}
    structure, _ = foreign.saved()
    gpu = torch.nn.Linear(3, 2, device="meta")
    room = ForeignState(gpu, torch.optim.SGD(gpu.parameters(), lr=1.0)).room(structure)
    assert {name: x.device.type for name, x in room.items()} == {
        "optimizer.weight.m": "meta",
        "optimizer.weight.step": "meta",
        "optimizer.random.cpu": "cpu",
    }
    there = torch.optim.SGD(gpu.parameters(), lr=1.0)
    there.state[gpu.weight] = {"m": torch.zeros_like(gpu.weight), "step": torch.tensor(1.0)}
    structure, _ = ForeignState(gpu, there).saved()
    back = ForeignState(*(made()[:2] if on == "cpu" else (gpu, there))).room(structure)
    assert [x.device.type for x in back.values()] == [on, "cpu", "cpu"]
