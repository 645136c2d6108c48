"""The optimizers reproduce the golden vectors of the specification."""

import json
import math
from pathlib import Path

import pytest
import torch

import adana
from adana import schedules
from adana.optim.ablations import AblatedADana

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "optimizers.json").read_text())
SETUP = GOLDEN["setup"]
COMMON = {
    "lr": SETUP["lr"],
    "omega": SETUP["omega"],
    "decay_offset": SETUP["decay_offset"],
    "eps": SETUP["eps"],
}
ADANA = {**COMMON, "kappa": SETUP["kappa"], "delta": SETUP["delta"]}
ADEMAMIX = {**ADANA, "total_steps": SETUP["total_steps"]}
MAKE = {
    "adana-paper": lambda ps, **kw: adana.ADana(ps, **ADANA, **kw),
    "adana-first-step-0": lambda ps, **kw: adana.ADana(ps, **ADANA, first_step=0, **kw),
    "adana-released": lambda ps, **kw: adana.ADana(ps, **ADANA, variant="released", **kw),
    "adamw-log-time-decay-after": lambda ps, **kw: adana.LogAdamW(
        ps, **COMMON, decay_order="after", **kw
    ),
    "dana-mk4": lambda ps, **kw: adana.DanaMK4(ps, **ADANA, variant="released", **kw),
    "dana-star-released": lambda ps, **kw: adana.DanaStar(ps, **ADANA, variant="released", **kw),
    "dana-star-legacy-grad-clip": lambda ps, **kw: adana.DanaStar(
        ps, **ADANA, grad_clip_snr=2.0, **kw
    ),
    "dana-star-legacy": lambda ps, **kw: adana.DanaStar(ps, **ADANA, **kw),
    "dana-star-mk4": lambda ps, **kw: adana.DanaStarMK4(ps, **ADANA, variant="released", **kw),
    "log-adamw-ablation": lambda ps, **kw: AblatedADana(
        ps, **ADANA, **kw, momentum="constant", gradient="none"
    ),
    "log-nadamw": lambda ps, **kw: AblatedADana(ps, **ADANA, **kw, momentum="undamped"),
    "adana-no-gradient": lambda ps, **kw: AblatedADana(
        ps, **{**ADANA, "kappa": 0.75}, **kw, gradient="none"
    ),
    "ademamix-constant-decay": lambda ps, **kw: adana.AdEMAMix(ps, **ADEMAMIX, **kw),
    "ademamix-log-time-decay": lambda ps, **kw: adana.AdEMAMix(
        ps, **ADEMAMIX, decay="log-time", **kw
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


def reference_beta3(t, start, final, warmup_steps):
    """Compute AdEMAMix's slow beta as the reference does, with 1e-8 inside the logarithms."""
    x = t / warmup_steps
    half_lives = [math.log(0.5) / math.log(beta + 1e-8) - 1 for beta in (start, final)]
    return 0.5 ** (1 / ((1 - x) * half_lives[0] + x * half_lives[1] + 1))


@pytest.mark.parametrize("foreach", [False, True], ids=["single", "foreach"])
@pytest.mark.parametrize("row", GOLDEN["rows"])
def test_trajectory_matches_the_golden_vector(row, foreach, monkeypatch):
    if row.startswith("ademamix"):
        ours = trajectory(MAKE[row], foreach)[SETUP["total_steps"]]
        assert ours == pytest.approx(GOLDEN["rows"][row][-1], abs=5e-9)
        monkeypatch.setattr(schedules, "ademamix_beta", reference_beta3)
    seen = trajectory(MAKE[row], foreach)
    for t, expected in zip(GOLDEN["steps"], GOLDEN["rows"][row], strict=True):
        assert seen[t] == pytest.approx(expected, abs=1e-9)


def test_every_golden_row_has_an_optimizer():
    assert set(GOLDEN["rows"]) == set(MAKE)
