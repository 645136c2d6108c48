"""Symbols that record what is done to them, so that one definition of an update makes every kernel.

The update, the codecs and the random bits are pure functions of tensors. Given symbols instead,
they leave a list of statements, each an operation on what came before, which a printer writes down
in the language of a kernel (`c_source`, `triton_source`). A symbol has the operators and methods of
`torch.Tensor` that those functions may use, with the same meaning, and no others.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch

Kind = Literal["float", "int", "bool"]
"""What one element is: float32, int32 (wraps around; shifts right keep the sign) or a truth."""

KINDS: dict[torch.dtype, Kind] = {torch.float32: "float", torch.int32: "int"}

KINDS_OF: dict[str, tuple[Kind, ...]] = {
    **dict.fromkeys(("div", "fma", "sqrt", "exp", "log", "floor"), ("float",)),
    **dict.fromkeys(("and", "or"), ("int", "bool")),
    **dict.fromkeys(("xor", "shl", "shr"), ("int",)),
}
"""The kinds that an operation takes, where it does not take floats and ints alike."""

Operand = Any
"""A `Value`, or a Python number that takes the kind of what it is combined with."""


class Statement(NamedTuple):
    """One line of a kernel: `result = operation(*operands)`."""

    result: Value
    operation: str
    operands: tuple[Operand, ...]

    @property
    def kind(self) -> Kind:
        """The kind of what it works on, which constants among the operands take."""
        return next(x.kind for x in reversed(self.operands) if isinstance(x, Value))


class Tape:
    """The statements recorded so far, in order."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []

    def symbol(self, name: str, kind: Kind) -> Value:
        """Return a symbol for something that the kernel has before its first statement."""
        return Value(self, name, kind)

    def record(self, operation: str, kind: Kind, *operands: Operand) -> Value:
        """Add a statement and return its result."""
        result = Value(self, f"x{len(self.statements)}", kind)
        result.origin = Statement(result, operation, operands)
        self.statements.append(result.origin)
        return result


class Value:
    """One element of a tensor inside a kernel."""

    def __init__(self, tape: Tape, name: str, kind: Kind) -> None:
        self.tape, self.name, self.kind = tape, name, kind
        self.origin: Statement | None = None

    def __repr__(self) -> str:
        return f"Value({self.name}: {self.kind})"

    def __bool__(self) -> bool:
        raise TypeError("a kernel cannot branch on its data: use `a.where(condition, b)`")

    def _made(self, operation: str, *others: Operand, kind: Kind | None = None) -> Value:
        self._check(operation, *others)
        return self.tape.record(operation, kind or self.kind, self, *others)

    def _check(self, operation: str, *others: Operand) -> None:
        """Raise `TypeError` unless the operation takes this kind, and the others are of it too."""
        allowed = KINDS_OF.get(operation, ("float", "int"))
        if self.kind not in allowed:
            raise TypeError(f"{operation} of {self!r}: it must be of kind {' or '.join(allowed)}")
        for other in others:
            if isinstance(other, Value) and other.kind != self.kind:
                raise TypeError(f"{operation} of {self!r} and {other!r}: the kinds differ")
            if not isinstance(other, Value) and not _fits(other, self.kind):
                raise TypeError(f"{operation} of {self!r} and {other!r}: no constant of its kind")

    # --- arithmetic -------------------------------------------------------------------------

    def __add__(self, other: Operand) -> Value:
        return self._made("add", other)

    def __sub__(self, other: Operand) -> Value:
        return self._made("sub", other)

    def __mul__(self, other: Operand) -> Value:
        return self._made("mul", other)

    def __truediv__(self, other: Operand) -> Value:
        return self._made("div", other)

    def __radd__(self, other: float) -> Value:
        return self._reversed("add", other)

    def __rsub__(self, other: float) -> Value:
        return self._reversed("sub", other)

    def __rmul__(self, other: float) -> Value:
        return self._reversed("mul", other)

    def __rtruediv__(self, other: float) -> Value:
        return self._reversed("div", other)

    def _reversed(self, operation: str, other: float) -> Value:
        self._check(operation, other)
        return self.tape.record(operation, self.kind, other, self)

    def __neg__(self) -> Value:
        return self._made("neg")

    # --- comparisons and bits ---------------------------------------------------------------

    def __lt__(self, other: Operand) -> Value:
        return self._made("lt", other, kind="bool")

    def __le__(self, other: Operand) -> Value:
        return self._made("le", other, kind="bool")

    def __gt__(self, other: Operand) -> Value:
        return self._made("gt", other, kind="bool")

    def __ge__(self, other: Operand) -> Value:
        return self._made("ge", other, kind="bool")

    def __eq__(self, other: Operand) -> Value:  # type: ignore[override]
        return self._made("eq", other, kind="bool")

    def __ne__(self, other: Operand) -> Value:  # type: ignore[override]
        return self._made("ne", other, kind="bool")

    __hash__ = None  # type: ignore[assignment]

    def __and__(self, other: Operand) -> Value:
        return self._made("and", other)

    def __or__(self, other: Operand) -> Value:
        return self._made("or", other)

    def __xor__(self, other: Operand) -> Value:
        return self._made("xor", other)

    def __lshift__(self, other: int) -> Value:
        return self._made("shl", other)

    def __rshift__(self, other: int) -> Value:
        return self._made("shr", other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    # --- functions --------------------------------------------------------------------------

    def sqrt(self) -> Value:
        return self._made("sqrt")

    def abs(self) -> Value:
        return self._made("abs")

    def exp(self) -> Value:
        """Return e^self; `x.log().mul(y).exp()` is recorded as the power `x^y` that it is."""
        match self.origin:
            case Statement(_, "mul", (Value(origin=Statement(_, "log", (x,))), y)):
                return self.tape.record("pow", "float", x, y)
        return self._made("exp")

    def log(self) -> Value:
        return self._made("log")

    def floor(self) -> Value:
        return self._made("floor")

    def square(self) -> Value:
        return self * self

    def mul(self, other: Operand) -> Value:
        return self * other

    def add(self, other: Operand, *, alpha: float = 1.0) -> Value:
        return self + other if alpha == 1 else self._plus_product(other, alpha)

    def lerp(self, end: Operand, weight: Operand) -> Value:
        """Return `self + weight * (end - self)`."""
        return self._plus_product(end - self, weight)

    def addcmul(self, one: Operand, two: Operand, *, value: float = 1.0) -> Value:
        return self._plus_product(one if value == 1 else one * value, two)

    def _plus_product(self, one: Value, two: Operand) -> Value:
        """Return `self + one * two`, rounded once where the processor can."""
        self._check("fma", one, two)
        return self.tape.record("fma", self.kind, one, two, self)

    def addcdiv(self, one: Operand, two: Operand, *, value: float = 1.0) -> Value:
        return self + (one if value == 1 else one * value) / two

    def where(self, condition: Value, other: Operand) -> Value:
        """Return self where the condition holds, else other."""
        if not (isinstance(condition, Value) and condition.kind == "bool"):
            raise TypeError(f"where of {self!r}: {condition!r} is no condition")
        self._check("where", other)
        return self.tape.record("where", self.kind, condition, self, other)

    def minimum(self, other: Operand) -> Value:
        """Return the smaller; self where it is not a number."""
        return self._made("min", other)

    def maximum(self, other: Operand) -> Value:
        """Return the larger; self where it is not a number."""
        return self._made("max", other)

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Value:
        bounded = self if min is None else self.maximum(min)
        return bounded if max is None else bounded.minimum(max)

    def to(self, dtype: torch.dtype) -> Value:
        """Return self converted; floats are cut off towards zero."""
        kind = _kind_of(dtype)
        return self if kind == self.kind else self._made(f"to_{kind}", kind=kind)

    def view(self, dtype: torch.dtype) -> Value:
        """Return the same 32 bits read as another kind."""
        kind = _kind_of(dtype)
        return self if kind == self.kind else self._made(f"bits_to_{kind}", kind=kind)


def _kind_of(dtype: torch.dtype) -> Kind:
    if dtype not in KINDS:
        raise TypeError(f"a kernel computes in float32 and int32, not in {dtype}")
    return KINDS[dtype]


def _fits(number: Any, kind: Kind) -> bool:
    """Return whether a Python number is a constant of a kind; floats must be finite."""
    if kind == "float":
        return isinstance(number, int | float) and math.isfinite(number)
    return kind == "int" and isinstance(number, int) and -(2**31) <= number < 2**31


def needed(statements: list[Statement], results: list[Value]) -> list[Statement]:
    """Return those statements that the results depend on, in order."""
    wanted = {x.name for x in results}
    kept = []
    for statement in reversed(statements):
        if statement.result.name in wanted:
            kept.append(statement)
            wanted.update(x.name for x in statement.operands if isinstance(x, Value))
    return kept[::-1]
