"""The optimizers reproduce the golden vectors of the specification."""

import json
import math
from pathlib import Path

import pytest
import torch

import adana
from adana import schedules

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "optimizers.json").read_text())
SETUP = GOLDEN["setup"]
COMMON = {
    "lr": SETUP["lr"],
    "omega": SETUP["omega"],
    "decay_offset": SETUP["decay_offset"],
    "eps": SETUP["eps"],
}
ADANA = {**COMMON, "kappa": SETUP["kappa"], "delta": SETUP["delta"]}
MAKE = {
    "adana-paper": lambda ps, **kw: adana.ADana(ps, **ADANA, **kw),
    "adana-first-step-0": lambda ps, **kw: adana.ADana(ps, **ADANA, first_step=0, **kw),
    "adana-released": lambda ps, **kw: adana.ADana(ps, **ADANA, variant="released", **kw),
    "adamw-log-time-decay-after": lambda ps, **kw: adana.LogAdamW(
        ps, **COMMON, decay_order="after", **kw
    ),
    "adamw-constant-decay": lambda ps, **kw: torch.optim.AdamW(
        ps,
        lr=SETUP["lr"],
        betas=(0.9, 0.999),
        eps=SETUP["eps"],
        weight_decay=schedules.omega_to_weight_decay(
            SETUP["omega"], SETUP["lr"], SETUP["total_steps"]
        ),
        **kw,
    ),
}


def gradient(t: int) -> float:
    if t % 3 == 0:
        return 0.0
    return (math.cos(0.7 * t) + 0.3) * (25 if t == 80 else 1)


def trajectory(make, foreach: bool) -> dict[int, float]:
    theta = torch.nn.Parameter(torch.tensor(SETUP["theta0"], dtype=torch.float64))
    optimizer = make([theta], foreach=foreach)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: schedules.warmup_cosine(k + 1, SETUP["total_steps"], SETUP["warmup_steps"]),
    )
    seen = {}
    for t in range(1, SETUP["total_steps"] + 1):
        theta.grad = torch.tensor(gradient(t), dtype=torch.float64)
        optimizer.step()
        scheduler.step()
        seen[t] = theta.item()
    return seen


@pytest.mark.parametrize("foreach", [False, True], ids=["single", "foreach"])
@pytest.mark.parametrize("row", GOLDEN["rows"])
def test_trajectory_matches_the_golden_vector(row, foreach):
    seen = trajectory(MAKE[row], foreach)
    for t, expected in zip(GOLDEN["steps"], GOLDEN["rows"][row], strict=True):
        assert seen[t] == pytest.approx(expected, abs=1e-9)


def test_every_golden_row_has_an_optimizer():
    assert set(GOLDEN["rows"]) == set(MAKE)
