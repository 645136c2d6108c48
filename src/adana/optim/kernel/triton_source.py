"""The text of a kernel in Triton, from a traced update: a module that is imported.

One launch serves any number of tensors of any size. Each program reads in `blocks` which block of
which tensor is its own, and in `table` where that tensor and its state are in memory. A program
whose tensors are aligned reads and writes 16 bytes at a time; others cannot, and have a launch of
their own. No operation depends on where an element is, and none is contracted with another, so that
blocks, shards and launches all compute the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from adana.optim.kernel.recipe import Buffer, Traced, symbols_used
from adana.optim.kernel.symbols import Kind, Operand, Statement, Value
from adana.optim.update import Hyper

COLUMNS = ("size", "numbers", "index", "run", "stride")
"""What the table says of a tensor before its pointers: its number of elements, where its numbers
start, the global index of its first element, how many elements follow each other in the global
order, and how far it is from one such run to the next."""

ALIGNMENT = 16
"""Bytes that pointers, and elements that sizes, are multiples of where `ALIGNED` is said."""

STORED: dict[tuple[Kind, torch.dtype], str] = {
    ("float", torch.float32): "float32",
    ("float", torch.bfloat16): "int16",
    ("float", torch.float16): "float16",
    ("int", torch.float32): "int32",
    ("int", torch.bfloat16): "int16",
    ("int", torch.int16): "int16",
    ("int", torch.int8): "int8",
    ("int", torch.uint8): "uint8",
}
"""As what Triton reads and writes an element: codes of floats by their bits, and bfloat16 always,
because Triton's interpreter cuts it instead of rounding."""
WIDE: dict[Kind, str] = {"float": "float32", "int": "int32"}

PREAMBLE = '''\
"""A fused step of adana, written by adana.optim.kernel.triton_source."""

import triton
import triton.language as tl

'''

INDEX = """\
    lane = tl.arange(0, BLOCK)
    index = (tl.load(table + {index}) + start).to(tl.int32)
    index = tl.add(index, lane, sanitize_overflow=False)
    if RUNS:
        run = tl.load(table + {run})
        within = start % run
        rest = tl.minimum(run - within, BLOCK).to(tl.int32)
        gap = (tl.load(table + {stride}) - run).to(tl.int32)
        further = tl.where(lane < rest, 0, 1 + (lane - rest) // tl.minimum(run, BLOCK).to(tl.int32))
        gaps = (start // run).to(tl.int32) + further
        skipped = tl.mul(gaps, gap, sanitize_overflow=False)
        index = tl.add(index, skipped, sanitize_overflow=False)
"""
"""The low 32 bits of the global index: `RUNS` says that it has gaps. A block may touch several."""


def source(traced: Traced) -> str:
    """Return the whole text; its kernel is called `adana_step`."""
    used = symbols_used(traced)
    coded = any(x.dtype != torch.float32 for x in traced.buffers[2:])
    expressions = {**EXPRESSIONS, **QUICK} if coded else EXPRESSIONS
    width = len(COLUMNS) + len(traced.buffers)
    column = {name: i for i, name in enumerate(COLUMNS)}
    numbers = [
        f"    h_{name} = tl.load(numbers + {i})"
        for i, name in enumerate(Hyper._fields)
        if f"h_{name}" in used
    ]
    keys = [
        f"    {name} = tl.load(keys + 2 * row + {i})"
        for i, name in enumerate(("key_a", "key_b"))
        if name in used
    ]
    return PREAMBLE + "\n".join([
        '@triton.jit(do_not_specialize=["table", "blocks", "numbers", "keys", "sums"])',
        "def adana_step(table, blocks, numbers, keys, sums,",
        "               ALIGNED: tl.constexpr, RUNS: tl.constexpr, BLOCK: tl.constexpr):",
        "    program = tl.program_id(0).to(tl.int64)",
        "    row = tl.load(blocks + 2 * program).to(tl.int64)",
        "    start = tl.load(blocks + 2 * program + 1).to(tl.int64) * BLOCK",
        f"    table += row * {width}",
        f"    numbers += tl.load(table + {column['numbers']})",
        f"    left = tl.minimum(tl.load(table + {column['size']}) - start, BLOCK).to(tl.int32)",
        *(_pointer(x, len(COLUMNS) + i) for i, x in enumerate(traced.buffers)),
        "    if ALIGNED:",
        f"        left = tl.multiple_of(left, {ALIGNMENT})",
        *(f"        {x.name} = tl.multiple_of({x.name}, {ALIGNMENT})" for x in traced.buffers),
        INDEX.format(**column).rstrip() if "index" in used else "    lane = tl.arange(0, BLOCK)",
        "    inside = lane < left",
        *numbers,
        *keys,
        *(_load(x) for x in traced.buffers if traced.loads[x.name].name in used),
        *(_statement(x, expressions) for x in traced.statements),
        *(
            line
            for x in traced.buffers
            if x.name in traced.stores
            for line in _store(x, traced.stores[x.name])
        ),
        *_sums(traced.sums),
    ]) + "\n"  # fmt: skip


def _pointer(buffer: Buffer, column: int) -> str:
    """Return the line that finds the first element of this block."""
    stored = STORED[buffer.kind, buffer.dtype]
    loaded = f"tl.load(table + {column}).to(tl.pointer_type(tl.{stored}))"
    return f"    {buffer.name} = {loaded} + start"


def _load(buffer: Buffer) -> str:
    """Return the line that reads the elements."""
    value = f"tl.load({buffer.name} + lane, mask=inside)"
    if buffer.kind == "float" and buffer.dtype == torch.bfloat16:
        value = f"({value}.to(tl.int32) << 16).to(tl.float32, bitcast=True)"
    else:
        value = f"{value}.to(tl.{WIDE[buffer.kind]})"
    return f"    {buffer.name}_old = {value}"


def _store(buffer: Buffer, value: Value) -> Iterable[str]:
    """Return the lines that write the elements, narrowing them to what is stored."""
    new = value.name
    if buffer.kind == "float" and buffer.dtype == torch.bfloat16:  # to nearest, ties to even
        new = f"{buffer.name}_new"
        half = f"32767 + ({new} >> 16 & 1)"
        yield f"    {new} = {value.name}.to(tl.int32, bitcast=True)"
        yield f"    {new} = tl.add({new}, {half}, sanitize_overflow=False) >> 16"
        yield f"    {new} = tl.where({value.name} == {value.name}, {new}, 0x7FC0)"
    narrow = f"{new}.to(tl.{STORED[buffer.kind, buffer.dtype]})"
    yield f"    tl.store({buffer.name} + lane, {narrow}, mask=inside)"


def _sums(sums: dict[str, Value]) -> Iterable[str]:
    """Return the lines that add what telemetry sees to the sums of the tensor."""
    for i, value in enumerate(sums.values()):
        seen = f"tl.where(inside, {value.name}.to(tl.float32), 0.0)"
        yield f"    tl.atomic_add(sums + row * {len(sums)} + {i}, tl.sum({seen}, axis=0))"


def _statement(statement: Statement, expressions: Expressions) -> str:
    """Return a statement as a line."""
    kind = statement.kind
    text = expressions[statement.operation](kind, *(_operand(x, kind) for x in statement.operands))
    return f"    {statement.result.name} = {text}"


def _operand(x: Operand, kind: Kind) -> str:
    if isinstance(x, Value):
        return x.name
    if kind == "float":
        return f"({float(x)!r})"
    return f"({int(x)})"


def _infix(sign: str) -> Callable[..., str]:
    return lambda kind, a, b: f"{a} {sign} {b}"


def _arithmetic(name: str, sign: str) -> Callable[..., str]:
    """Return what prints an operator that may overflow: int32 wraps around."""

    def text(kind: Kind, a: str, b: str) -> str:
        wraps = f"tl.{name}({a}, {b}, sanitize_overflow=False)"
        return wraps if kind == "int" else f"{a} {sign} {b}"

    return text


def _call(name: str, options: str = "") -> Callable[..., str]:
    return lambda kind, *operands: f"tl.{name}({', '.join(operands)}{options})"


def _cast(dtype: str, options: str = "") -> Callable[..., str]:
    return lambda kind, x: f"{x}.to(tl.{dtype}{options})"


def _negated(kind: Kind, x: str) -> str:
    return f"-{x}" if kind == "float" else f"tl.sub(0, {x}, sanitize_overflow=False)"


def _operators(signs: Iterable[tuple[str, str]]) -> dict[str, Callable[..., str]]:
    return {name: _infix(sign) for name, sign in signs}


Expressions = Mapping[str, Callable[..., str]]
EXPRESSIONS: Expressions = {
    **_operators([
        ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!="),
        ("and", "&"), ("or", "|"), ("xor", "^"), ("shl", "<<"), ("shr", ">>"),
    ]),
    "add": _arithmetic("add", "+"),
    "sub": _arithmetic("sub", "-"),
    "mul": _arithmetic("mul", "*"),
    "div": _call("div_rn"),
    "neg": _negated,
    "fma": _call("fma"),
    "sqrt": _call("sqrt_rn"),
    "abs": _call("abs"),
    "exp": _call("exp"),
    "log": _call("log"),
    "pow": lambda kind, x, y: f"tl.exp2({y} * tl.log2({x}))",
    "floor": _call("floor"),
    "where": _call("where"),
    "min": _call("minimum", ", propagate_nan=tl.PropagateNan.ALL"),
    "max": _call("maximum", ", propagate_nan=tl.PropagateNan.ALL"),
    "to_int": _cast("int32"),
    "to_float": _cast("float32"),
    "bits_to_int": _cast("int32", ", bitcast=True"),
    "bits_to_float": _cast("float32", ", bitcast=True"),
}  # fmt: skip
"""How every operation that `symbols.Value` records is written in Triton."""

QUICK: Expressions = {"div": _infix("/"), "sqrt": _call("sqrt")}
"""What replaces them where states or weights are codes: within 2 units in the last place, which is
far less than a code. Dana-Star in log16 is 265 instructions an element on an H100 this way, and 389
with IEEE division and root (nvdisasm, 2026-11-29), where the memory leaves time for about 170."""
