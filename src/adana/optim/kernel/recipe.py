"""What a kernel is made for, and the update traced for it: the part that C and Triton share.

A kernel goes through the elements of its tensors once: it loads the parameter, the gradient and the
state, decodes what is stored in fewer bits, updates, encodes and stores. Everything that depends on
time or on the group is a number it is given, so that one kernel serves a whole training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adana.optim.codecs import CODECS, WEIGHTS
from adana.optim.kernel.symbols import Kind, Statement, Tape, Value, needed
from adana.optim.placement import UNPLACED, Placement
from adana.optim.randomness import Key, words
from adana.optim.update import SEEN, Form, Hyper, Updated

Rule = Callable[..., Updated]
"""`updated` of the family, or a member's own: a pure function of symbols or tensors."""

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
"""What weights and gradients may be, for a kernel."""


class Recipe(NamedTuple):
    """Everything a kernel depends on; two steps with equal recipes share a kernel."""

    rule: Rule
    form: Form
    names: tuple[str, ...]
    """Names of the state tensors."""
    weights: torch.dtype
    gradients: torch.dtype
    state_dtype: str = "fp32"
    """Name of the codec of the state."""
    rounding: str = "nearest"
    """Name of the codec of the weights."""
    see: bool = False
    """Whether telemetry is wanted."""


class Row(NamedTuple):
    """What a kernel works on of one parameter, all of it alike and without gaps in memory."""

    tensors: tuple[Tensor, ...]
    """p, g and the parts of the state, in the order of `recipe.parts`."""
    size: int
    """Elements of each."""
    pointers: tuple[int, ...]
    """Where each begins."""
    numbers: int
    """Which row of the numbers is its own."""
    placement: Placement
    """Where its elements are in the whole parameter, for random bits."""
    key: Key
    """Of its random bits."""


def row_of(
    tensors: tuple[Tensor, ...],
    numbers: int = 0,
    placement: Placement = UNPLACED,
    key: Key = (0, 0),
) -> Row:
    """Return the row of these tensors."""
    pointers = tuple([x.data_ptr() for x in tensors])
    return Row(tensors, tensors[0].numel(), pointers, numbers, placement, key)


class Buffer(NamedTuple):
    """A tensor the kernel works on, as one pointer for each parameter."""

    name: str
    dtype: torch.dtype
    kind: Kind
    """What a loaded element becomes: a float, or its bits as an int, for a codec."""


class Traced(NamedTuple):
    """A kernel before it is written down in a language."""

    buffers: list[Buffer]
    """In the order of their pointers: `p`, `g`, then the parts of the state."""
    statements: list[Statement]
    loads: dict[str, Value]
    """What the elements of the buffers are called before the statements."""
    stores: dict[str, Value]
    """What is to be stored in which buffer, and is called how."""
    sums: dict[str, Value]
    """What telemetry adds up."""


def parts(recipe: Recipe) -> dict[str, torch.dtype]:
    """Return the names and dtypes of the state tensors as they are stored."""
    codec, weights = CODECS[recipe.state_dtype], WEIGHTS[recipe.rounding]
    stored = {part: dtype for name in recipe.names for part, dtype in codec.parts(name).items()}
    return {**stored, **weights.parts()}


def trace(recipe: Recipe) -> Traced:
    """Return the update of `recipe`, traced with symbols."""
    tape = Tape()
    codec, weights = CODECS[recipe.state_dtype], WEIGHTS[recipe.rounding]
    stored = parts(recipe)
    buffers = [
        Buffer("p", recipe.weights, "float" if recipe.rounding == "nearest" else "int"),
        Buffer("g", recipe.gradients, "float"),
        *(Buffer(name, dtype, "int") for name, dtype in stored.items()),
    ]
    loads = {x.name: tape.symbol(f"{x.name}_old", x.kind) for x in buffers}
    hyper = Hyper(*(tape.symbol(f"h_{name}", "float") for name in Hyper._fields))
    key = tape.symbol("key_a", "int"), tape.symbol("key_b", "int")
    random = words(tape.symbol("index", "int"), key)

    of_weights = {name: loads[name] for name in ("p", *weights.parts())}
    of_state = {name: loads[name] for name in loads if name != "g" and name not in of_weights}
    new = recipe.rule(
        weights.decode(of_weights),
        loads["g"] * hyper.scale,
        codec.decode(of_state),
        hyper,
        recipe.form,
        see=recipe.see,
    )
    stores = {**weights.encode(new.p, random), **codec.encode(new.state, random)}
    sums = {name: new.seen[name] for name in SEEN if name in new.seen}
    statements = needed(tape.statements, [*stores.values(), *sums.values()])
    return Traced(buffers, statements, loads, stores, sums)


def symbols_used(traced: Traced) -> set[str]:
    """Return the names of all symbols that statements, stores or sums refer to."""
    operands: list[Any] = [x for s in traced.statements for x in s.operands]
    values = [x for x in operands if isinstance(x, Value)]
    return {x.name for x in (*values, *traced.stores.values(), *traced.sums.values())}
