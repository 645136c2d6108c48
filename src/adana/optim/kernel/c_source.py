"""The text of a kernel in C, from a traced update.

One loop over the elements that a compiler turns into vector instructions; nothing in it depends on
the position of an element, so that pieces, shards and threads all compute the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from adana.optim.kernel.recipe import Buffer, Traced, symbols_used
from adana.optim.kernel.symbols import Kind, Operand, Statement, Value
from adana.optim.update import Hyper

COLUMNS = ("size", "numbers", "index", "run", "stride", "key_a", "key_b")
"""What the table says of a tensor before its pointers: its number of elements, its row of numbers,
the global index of its first element, how many elements follow each other in the global order, how
far it is from one such run to the next, and the key of its random bits."""

BLOCK = 1 << 16
"""Elements in one call of the loop: few enough for the sums of telemetry in single precision."""

TYPES: dict[Kind, str] = {"float": "float", "int": "int32_t", "bool": "int"}
STORED = {
    torch.float32: "float",  # "int32_t" where a codec reads its bits
    torch.bfloat16: "uint16_t",
    torch.float16: "_Float16",
    torch.int16: "int16_t",
    torch.uint8: "uint8_t",
    torch.int8: "int8_t",
}

PREAMBLE = """\
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline int32_t bits_to_int(float x) { int32_t y; memcpy(&y, &x, 4); return y; }
static inline float bits_to_float(int32_t x) { float y; memcpy(&y, &x, 4); return y; }
static inline float from_bf16(uint16_t x) { return bits_to_float((int32_t)((uint32_t)x << 16)); }
static inline int32_t abs_of_int(int32_t x) {
  return (int32_t)(x < 0 ? 0u - (uint32_t)x : (uint32_t)x);
}

/* a * b + c, rounded once where the processor does that in one instruction. */
static inline float fma_of(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

/* Rounded to the nearest, ties to even; a NaN stays one. */
static inline uint16_t to_bf16(float x) {
  const uint32_t b = (uint32_t)bits_to_int(x);
  const uint32_t rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
  return (uint16_t)(x == x ? rounded : 0x7fc0u);
}

/* x^y within 2.6 (1 + |y log2 x|) units in the last place, for normal positive x and results:
   x = 2^e m with m in [sqrt(1/2), sqrt(2)), log2 m = s P(s) with s = m - 1, and 2^(n + r) by a
   polynomial in r in [-1/2, 1/2]; both were fitted for relative error (2e-7 and 8e-8). n is what
   remains of the exponent when 1.5 * 2^23 has been added, which leaves no bits for a fraction. */
static inline float pow_of(float x, float y) {
  const int32_t b = bits_to_int(x);
  const int32_t e = (b - 0x3f3504f3) >> 23;
  const float s = bits_to_float(b - (int32_t)((uint32_t)e << 23)) - 1.0f;
  float l = -0.14660159f;
  l = fma_of(l, s, 0.23401316f);
  l = fma_of(l, s, -0.2485567f);
  l = fma_of(l, s, 0.28707775f);
  l = fma_of(l, s, -0.36027065f);
  l = fma_of(l, s, 0.48092574f);
  l = fma_of(l, s, -0.721352f);
  l = fma_of(l, s, 1.4426949f);
  l = fma_of(l, s, (float)e) * y;
  const float t = l + 12582912.0f;
  const float r = l - (t - 12582912.0f);
  float p = 0.0013276468962430954f;
  p = fma_of(p, r, 0.009675540961325169f);
  p = fma_of(p, r, 0.05550713464617729f);
  p = fma_of(p, r, 0.24022120237350464f);
  p = fma_of(p, r, 0.6931469440460205f);
  p = fma_of(p, r, 1.0000001192092896f);
  return bits_to_float(bits_to_int(p) + (int32_t)((uint32_t)bits_to_int(t) << 23));
}
"""

FETCHING = f"""\
/* How many elements are computed before memory is asked for others, and how far ahead. Without
   it, an Intel processor waited for memory or computed, but did too little of both at once; an
   AMD one of Zen 1 to 3 was slower with it (docs/evidence/optimizer_step.md); others were not
   measured. */
#if defined(__AVX2__) && !defined(__znver1__) && !defined(__znver2__) && !defined(__znver3__)
enum {{ STRIP = 64, AHEAD = 512 }};
static inline void fetch_ahead(const void *from, int32_t bytes) {{
  for (int32_t k = 0; k < STRIP * bytes; k += 64)
    __builtin_prefetch((const void *)((uintptr_t)from + AHEAD * bytes + k));
}}
#else
enum {{ STRIP = {BLOCK} }};
static inline void fetch_ahead(const void *from, int32_t bytes) {{ (void)from, (void)bytes; }}
#endif
"""


def source(traced: Traced) -> str:
    """Return the whole text: helpers, the loop, and the entry that shares it among threads."""
    return "\n".join([PREAMBLE, FETCHING, _loop(traced), _entry(traced)])


def _loop(traced: Traced) -> str:
    """Return the function over one stretch of elements that follow each other."""
    used = symbols_used(traced)
    stored = {*traced.stores}
    arguments = "".join(
        f",\n    {'' if x.name in stored else 'const '}{_type(x)} *restrict {x.name}"
        for x in traced.buffers
    )
    numbers = [
        f"  const float h_{name} = numbers[{i}];"
        for i, name in enumerate(Hyper._fields)
        if f"h_{name}" in used
    ]
    sums = list(traced.sums)
    reduction = f" reduction(+: {', '.join(f's_{name}' for name in sums)})" if sums else ""
    body = [
        *(_load(x) for x in traced.buffers if traced.loads[x.name].name in used),
        *(_statement(x) for x in traced.statements),
        *(_store(x, traced.stores[x.name]) for x in traced.buffers if x.name in stored),
        *(f"    s_{name} += (float){value.name};" for name, value in traced.sums.items()),
    ]
    return "\n".join([
        "static void loop(int32_t n, int32_t first, int32_t key_a, int32_t key_b,",
        f"    const float *numbers, double *sums{arguments}) {{",
        *numbers,
        *(f"  float s_{name} = 0.0f;" for name in sums),
        "  for (int32_t from = 0; from < n; from += STRIP) {",
        *(f"    fetch_ahead({x.name} + from, sizeof *{x.name});" for x in traced.buffers),
        "    const int32_t to = n - from < STRIP ? n : from + STRIP;",
        f"#pragma omp simd{reduction}",
        "    for (int32_t i = from; i < to; i++) {",
        "    const int32_t index = (int32_t)((uint32_t)first + (uint32_t)i);",
        *body,
        "    }",
        "  }",
        *(f"  sums[{k}] += s_{name};" for k, name in enumerate(sums)),
        "}",
    ])  # fmt: skip


def _entry(traced: Traced) -> str:
    """Return the function that is called: every thread takes an equal share of all elements."""
    width = len(COLUMNS) + len(traced.buffers)
    column = {name: i for i, name in enumerate(COLUMNS)}
    pointers = "".join(
        f",\n            ({_type(x)} *)row[{len(COLUMNS) + i}] + a"
        for i, x in enumerate(traced.buffers)
    )
    count = len(traced.sums)
    return f"""
void adana_step(int64_t tensors, const int64_t *table, const float *numbers, double *sums,
                int32_t threads) {{
  int64_t total = 0;
  for (int64_t k = 0; k < tensors; k++) total += table[k * {width}];
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int32_t part = 0; part < threads; part++) {{
    const int64_t begin = (total * part / threads) & ~(int64_t)15;
    const int64_t end = part + 1 == threads ? total : (total * (part + 1) / threads) & ~(int64_t)15;
    int64_t before = 0;
    for (int64_t k = 0; k < tensors && before < end; k++) {{
      const int64_t *row = table + k * {width};
      const int64_t size = row[{column["size"]}], run = row[{column["run"]}];
      int64_t a = begin > before ? begin - before : 0;
      const int64_t b = end < before + size ? end - before : size;
      before += size;
      while (a < b) {{
        const int64_t within = a % run;
        int64_t n = run - within < b - a ? run - within : b - a;
        n = n < {BLOCK} ? n : {BLOCK};
        const int64_t index = row[{column["index"]}] + a / run * row[{column["stride"]}] + within;
        loop((int32_t)n, (int32_t)(uint32_t)index, (int32_t)row[{column["key_a"]}],
            (int32_t)row[{column["key_b"]}], numbers + row[{column["numbers"]}],
            sums + ((int64_t)part * tensors + k) * {count}{pointers});
        a += n;
      }}
    }}
  }}
}}
"""


def _type(buffer: Buffer) -> str:
    """Return the C type of a buffer's elements."""
    bits = buffer.kind == "int" and buffer.dtype == torch.float32
    return "int32_t" if bits else STORED[buffer.dtype]


def _load(buffer: Buffer) -> str:
    """Return the line that reads an element."""
    value = f"{buffer.name}[i]"
    if buffer.kind == "int":
        value = f"(int32_t)(int16_t){value}" if buffer.dtype == torch.bfloat16 else value
        return f"    const int32_t {buffer.name}_old = {value};"
    if buffer.dtype == torch.bfloat16:
        value = f"from_bf16({value})"
    return f"    const float {buffer.name}_old = (float){value};"


def _store(buffer: Buffer, value: Value) -> str:
    """Return the line that writes an element, narrowing it to what is stored."""
    if buffer.kind == "float" and buffer.dtype == torch.bfloat16:
        return f"    {buffer.name}[i] = to_bf16({value.name});"
    return f"    {buffer.name}[i] = ({_type(buffer)}){value.name};"


def _statement(statement: Statement) -> str:
    """Return a statement as a line."""
    kind = statement.kind
    operands = (_operand(x, kind) for x in statement.operands)
    text = EXPRESSIONS[statement.operation](kind, *operands)
    return f"    const {TYPES[statement.result.kind]} {statement.result.name} = {text};"


def _operand(x: Operand, kind: Kind) -> str:
    if isinstance(x, Value):
        return x.name
    if kind == "float":
        value = float(x)
        return f"{value.hex()}f" if value >= 0 else f"({value.hex()}f)"
    return f"({int(x)})"


def _infix(sign: str) -> Callable[..., str]:
    """Return what prints an operator; int32 wraps around, which signed C integers may not."""

    def text(kind: Kind, a: str, b: str) -> str:
        if kind == "int" and sign in ("+", "-", "*", "<<"):
            return f"(int32_t)((uint32_t){a} {sign} (uint32_t){b})"
        return f"{a} {sign} {b}"

    return text


def _call(name: str) -> Callable[..., str]:
    def text(kind: Kind, *operands: str) -> str:
        return f"{name}({', '.join(operands)})"

    return text


def _operators(signs: Iterable[tuple[str, str]]) -> dict[str, Callable[..., str]]:
    return {name: _infix(sign) for name, sign in signs}


EXPRESSIONS: dict[str, Callable[..., str]] = {
    **_operators([
        ("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/"),
        ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!="),
        ("and", "&"), ("or", "|"), ("xor", "^"), ("shl", "<<"), ("shr", ">>"),
    ]),
    "neg": lambda kind, x: f"-{x}" if kind == "float" else f"(int32_t)(0u - (uint32_t){x})",
    "fma": _call("fma_of"),
    "sqrt": _call("sqrtf"),
    "abs": lambda kind, x: f"{'fabsf' if kind == 'float' else 'abs_of_int'}({x})",
    "exp": _call("expf"),
    "log": _call("logf"),
    "pow": _call("pow_of"),
    "floor": _call("floorf"),
    "where": lambda kind, condition, a, b: f"{condition} ? {a} : {b}",
    "min": lambda kind, a, b: f"{a} > {b} ? {b} : {a}",
    "max": lambda kind, a, b: f"{a} < {b} ? {b} : {a}",
    "to_int": lambda kind, x: f"(int32_t){x}",
    "to_float": lambda kind, x: f"(float){x}",
    "bits_to_int": _call("bits_to_int"),
    "bits_to_float": _call("bits_to_float"),
}  # fmt: skip
"""How every operation that `symbols.Value` records is written in C."""
