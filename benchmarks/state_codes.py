"""What each code of optimizer states does to log-time averages over up to a million steps.

    python benchmarks/state_codes.py --out build/state_codes

Independent coordinates get g = s(t) (mu + sigma xi), with sigma spread log-normally, and s(t) = 1
or (1 + t/1000)^(-1/2). Averages kept in each code are compared with float64 averages of the same
gradients, and with what `predicted` derives (docs/low-precision.md). Writes state_codes.csv and
state_codes.svg, prints the tables of that page. A million steps take about 20 minutes of one core.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import torch
from torch import Tensor

from adana.optim.codecs import CODECS, R_MAX
from adana.optim.randomness import at_step, stream, words
from adana.report import save_static
from adana.schedules import DELTA, ema_weight

REGIMES = ("constant", "shrinking")
SIGNALS = (0.0, 0.01, 0.1, 0.5, 2.0)
"""Signal-to-noise ratios mu / sigma."""
NAMES = ("fp32", "bf16 to nearest", "bf16_sr", "fp24", "log16")
HORIZON = 1000
"""Steps over which the gradients of the second regime begin to shrink."""
BLOCK = 100
"""Steps whose gradients are drawn at once."""

AVERAGES = ("m", "v", "tau")
States = dict[str, Tensor]


class Row(NamedTuple):
    """One code in one regime at one signal-to-noise ratio at one step, over all coordinates."""

    t: int
    code: str
    regime: str
    signal: float
    m_error: float
    """Root mean square of m_q - m, in units of sqrt(v a/2): the noise of the average itself."""
    m_slope: float
    """How m_q follows m: the sum of m_q m over that of m^2, in units of v; 1 is unbiased."""
    v_mean: float
    """Mean of v_q / v."""
    v_std: float
    tau_mean: float
    """Mean of tau_q / tau."""
    tau_std: float


# --- the simulation -------------------------------------------------------------------------------


def simulate(
    steps: int,
    *,
    width: int = 192,
    at: Iterable[int] | None = None,
    names: Iterable[str] = NAMES,
    delta: float = DELTA,
    seed: int = 0,
    compiled: bool = False,
) -> list[Row]:
    """Return the rows of all codes at the steps `at`, by default the last only."""
    moments = set(at or (steps,))
    shape = (len(REGIMES), len(SIGNALS), width)
    index = torch.arange(math.prod(shape), dtype=torch.int32).view(shape)
    own = stream(seed, 0)
    exact = {key: torch.zeros(shape, dtype=torch.float64) for key in AVERAGES}
    zeros = {key: torch.zeros(shape) for key in AVERAGES}
    kept = {name: KEEPERS[name].encode(zeros, lambda k: index * 0) for name in names}
    advance = torch.compile(advance_all, dynamic=False) if compiled else advance_all
    rows = []
    for t, g in enumerate(gradients(steps, shape, seed), 1):
        weight = ema_weight(t, delta)
        weights = torch.tensor(weight, dtype=torch.float64), torch.tensor(weight)
        key = torch.tensor(at_step(own, t), dtype=torch.int32)
        exact, kept = advance(exact, kept, g, weights, index, key)
        if t in moments:
            for name, codes in kept.items():
                rows += _compared(t, name, KEEPERS[name].decode(codes), exact, weight)
    return rows


def advance_all(
    exact: States,
    kept: dict[str, States],
    g: Tensor,
    weights: tuple[Tensor, Tensor],
    index: Tensor,
    key: Tensor,
) -> tuple[States, dict[str, States]]:
    """Return the exact averages and all codes after one more gradient."""
    random = words(index, (key[0], key[1]))
    after = {}
    for name, codes in kept.items():
        states = _advanced(KEEPERS[name].decode(codes), g, weights[1])
        after[name] = KEEPERS[name].encode(states, random)
    return _advanced(exact, g.double(), weights[0]), after


def _advanced(s: States, g: Tensor, weight: Tensor) -> States:
    """Return the averages after one more gradient, as `adana.optim.update` makes them."""
    v = s["v"].lerp(g * g, weight)
    size = g.abs()
    tau = s["tau"].lerp(size / (size + v.sqrt()), weight)
    return {"m": s["m"].lerp(g, weight), "v": v, "tau": tau}


class Nearest:
    """bfloat16 rounded to nearest: no code of the package, but what most optimizers do."""

    def decode(self, codes: States) -> States:
        """Return the states as float32."""
        return {key: x.float() for key, x in codes.items()}

    def encode(self, states: States, random: object) -> States:
        """Return the states rounded."""
        return {key: x.bfloat16() for key, x in states.items()}


KEEPERS: dict[str, Any] = {**CODECS, "bf16 to nearest": Nearest()}


def gradients(steps: int, shape: tuple[int, ...], seed: int) -> Iterator[Tensor]:
    """Yield the gradients of every step."""
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.randn(shape, generator=generator).exp()
    mu = sigma * torch.tensor(SIGNALS)[:, None]
    for start in range(1, steps + 1, BLOCK):
        noise = torch.randn((BLOCK, *shape), generator=generator).mul_(sigma).add_(mu)
        times = torch.arange(start, start + BLOCK, dtype=torch.float64)
        noise[:, 1] *= (1 + times / HORIZON).rsqrt().float()[:, None, None]
        yield from noise[: steps + 1 - start]


def _compared(t: int, code: str, states: States, exact: States, weight: float) -> list[Row]:
    """Return how the averages of a code compare with the exact ones."""
    s = {key: x.double() for key, x in states.items()}
    root = exact["v"].sqrt()
    error = ((s["m"] - exact["m"]) / root).square().mean(-1).sqrt() / math.sqrt(weight / 2)
    exact_m, m = exact["m"] / root, s["m"] / root
    slope = (m * exact_m).sum(-1) / exact_m.square().sum(-1)
    v, tau = s["v"] / exact["v"], s["tau"] / exact["tau"]
    columns = (error, slope, v.mean(-1), v.std(-1), tau.mean(-1), tau.std(-1))
    return [
        Row(t, code, regime, signal, *(x[i, j].item() for x in columns))
        for i, regime in enumerate(REGIMES)
        for j, signal in enumerate(SIGNALS)
    ]


# --- what theory says -----------------------------------------------------------------------------

V_STEPS = {"bf16_sr": 2.0**-7, "fp24": 2.0**-15, "log16": 2.0**-9}
"""Step of v just above a power of two, in units of v."""
MEAN_STEP = 0.5 / math.log(2)
"""Mean of the steps of a float in units of the value, in those of its largest: of 1/x, 1 <= x < 2."""


@cache
def noise() -> np.ndarray[Any, Any]:
    """Return points spread as normal noise is."""
    from scipy.special import ndtri  # noqa: PLC0415

    return np.asarray(ndtri((np.arange(20000) + 0.5) / 20000))


def spread(step: Any, increments: Any, weight: float, fade: float, delta: float) -> float:
    """Return the standard deviation that rounding at random gives to an average.

    An increment that is f steps beyond a code adds the variance step^2 f (1 - f), which is about
    step |increment| where increments are small, and step^2 / 6 where they are large. Errors fade
    as the average does, e <- (1 - fade) e. Where the added variance A falls like the weight, that
    sums to A / (2 fade); where it is constant in t, to A / (2 fade + fade / delta).
    """
    f = np.abs(increments) / step
    small = float(np.mean(np.minimum(f, 1)))
    f -= np.floor(f)
    added = float(np.mean(step**2 * f * (1 - f)))
    constant = small > 0.5
    return math.sqrt(added / (2 * fade + constant * weight / delta))


def predicted(code: str, t: int, regime: str, signal: float, delta: float = DELTA) -> Row:
    """Return what is derived for a code that rounds at random (docs/low-precision.md).

    Gradients in units of their own sigma. Shrinking ones make v = E g^2 delta / (delta - 1), since
    squares that fall like 1/t weigh more; and relative errors fade by delta - 1 of delta.
    """
    weight = ema_weight(t, delta)
    shrinking = regime == "shrinking"
    keep = (delta - 1) / delta if shrinking else 1.0
    g = signal + noise()
    v = float(np.mean(g**2)) / keep
    m = signal * (delta / (delta - 0.5) if shrinking else 1.0)
    step = V_STEPS[code] * MEAN_STEP
    v_std = spread(step, weight * (g**2 / v - 1), weight, keep * weight, delta)
    # |m| is never below the noise of the average
    r = np.abs(m / math.sqrt(v) + math.sqrt(weight / 2) / math.sqrt(1 + signal**2) * noise()[::20])
    if code == "log16":
        steps = 2 * np.sqrt(R_MAX * r) / 2**15
    else:
        steps = V_STEPS[code] * MEAN_STEP * r
    increments = weight * (g - m) / math.sqrt(v)
    fade = weight * (delta - 0.5) / delta if shrinking else weight
    variances = [
        spread(x, increments, weight, fade, delta) ** 2 for x in np.quantile(steps, TENTHS)
    ]
    m_error = math.sqrt(float(np.mean(variances)) / (weight / 2))
    return Row(t, code, regime, signal, m_error, 1.0, 1.0, v_std, 1.0, math.nan)


TENTHS = (np.arange(20) + 0.5) / 20


# --- the output -----------------------------------------------------------------------------------


def chart(rows: list[Row]) -> alt.TopLevelMixin:
    """Return the error of m and the mean of v over time, code by code."""
    points = [row._asdict() for row in rows if row.signal in (0.0, 0.5) and row.code != "fp32"]
    base = (
        alt.Chart()
        .mark_line(point=alt.OverlayMarkDef(size=12), strokeWidth=2)
        .encode(
            x=alt.X("t:Q", scale=alt.Scale(type="log"), title="step"),
            color=alt.Color("code:N", sort=list(NAMES), title=None),
        )
        .properties(width=260, height=180)
    )
    m = base.encode(
        y=alt.Y("m_error:Q", scale=alt.Scale(type="log"), title="error of m, in its own noise")
    ).transform_filter(alt.datum.regime == "constant")
    v = base.encode(
        y=alt.Y("v_mean:Q", scale=alt.Scale(type="log"), title="stored v / exact v")
    ).transform_filter(alt.datum.signal == 0.0)
    data = alt.Data(values=points)
    return alt.vconcat(
        m.facet(column=alt.Column("signal:N", title="constant gradients, mu / sigma"), data=data),
        v.facet(column=alt.Column("regime:N", title="gradients, mu = 0"), data=data),
    )


def tables(rows: list[Row], times: Iterable[int]) -> str:
    """Return the tables of docs/low-precision.md: simulated, and derived in brackets."""
    lines = []
    for regime in REGIMES:
        for t in times:
            lines += ["", f"{regime}, t = {t:.0e}", ""]
            lines += [
                "| code | "
                + " | ".join(f"m error, {s:g}" for s in SIGNALS)
                + " | m slope, 0.5 | v mean, 0 | v spread, 0 | tau mean, 0 | tau spread, 0 |"
            ]
            for name in NAMES:
                at = {r.signal: r for r in rows if (r.t, r.regime, r.code) == (t, regime, name)}
                said = {s: predicted(name, t, regime, s) for s in SIGNALS if name in V_STEPS}
                cells = [
                    f"{at[s].m_error:.2g}" + (f" ({said[s].m_error:.2g})" if said else "")
                    for s in SIGNALS
                ]
                zero = at[0.0]
                derived = f" ({said[0.0].v_std:.2g})" if said else ""
                cells += [
                    f"{at[0.5].m_slope:.4f}", f"{zero.v_mean:.4g}", f"{zero.v_std:.2g}" + derived,
                    f"{zero.tau_mean:.4f}", f"{zero.tau_std:.2g}",
                ]  # fmt: skip
                lines += [f"| {name} | " + " | ".join(cells) + " |"]
    return "\n".join(lines)


def moments_of(steps: int) -> list[int]:
    """Return the steps to report: ten in each power of ten, from 10."""
    powers = np.arange(10, int(10 * math.log10(steps)) + 1) / 10
    return sorted({round(10**x) for x in powers} | {steps})


def main() -> None:
    """Simulate, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=float, default=1e6)
    parser.add_argument("--width", type=int, default=192, help="coordinates of each kind")
    parser.add_argument("--out", type=Path, default=Path("build/state_codes"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    steps = int(args.steps)
    start = time.process_time()
    rows = simulate(steps, width=args.width, at=moments_of(steps), compiled=True)
    seconds = time.process_time() - start
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "state_codes.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows)
    save_static(chart(rows), args.out / "state_codes.svg")
    print(tables(rows, [t for t in (10**4, 10**5, 10**6) if t <= steps] or [steps]))
    print(f"\n{steps} steps, {args.width} coordinates of each kind, {seconds:.0f} s of one core, "
          f"torch {torch.__version__}")  # fmt: skip


if __name__ == "__main__":
    main()
