import json

import pytest

from adana import schedules
from adana.ladder import DEVICES, Hardware, plan_rung, plan_to_dict, plan_trainings, total

HARDWARE = Hardware(DEVICES["h100"], 8)


def plan(heads=(6, 12), optimizers=("adamw", "adana"), batch_size=32, **more):
    rungs = [plan_rung("enoki", h, batch_size=batch_size) for h in heads]
    return plan_trainings(rungs, optimizers, HARDWARE, **more)


def test_every_rung_is_planned_with_every_optimizer():
    planned = plan()
    assert [(t.rung.heads, t.optimizer) for t in planned] == [
        (6, "adamw"), (6, "adana"), (12, "adamw"), (12, "adana"),
    ]  # fmt: skip
    assert [t.kappa for t in planned] == [None, 0.85, None, 0.85]
    assert [f"{t.rate.lr:.2e}" for t in planned] == [
        "3.79e-03", "1.30e-03", "1.22e-03", "3.38e-04",
    ]  # fmt: skip


def test_a_given_rate_replaces_the_law_of_that_optimizer_alone():
    planned = plan(given={"adana": 0.5}, heads=(6,))
    assert [t.rate.law is None for t in planned] == [False, True]
    assert planned[1].rate.lr == 0.5


def test_a_given_rate_needs_no_law():
    planned = plan(optimizers=("log-muon",), given={"log-muon": 0.01}, batch_size=64)
    assert {t.rate.lr for t in planned} == {0.01}


def test_adamw_gets_the_weight_decay_of_its_learning_rate_and_the_others_none():
    adamw, adana = plan(heads=(6,))
    assert adamw.weight_decay == schedules.omega_to_weight_decay(4.0, adamw.rate.lr, 13_950)
    assert adana.weight_decay is None


def test_the_total_adds_up():
    planned = plan()
    added = total(planned)
    assert added.trainings == 4
    assert added.tokens == 2 * sum(plan_rung("enoki", h).tokens for h in (6, 12))
    assert added.compute == pytest.approx(2 * (0.01079 + 0.2993), rel=1e-3)
    assert added.device_hours == pytest.approx(8 * added.hours)
    assert added.hours == pytest.approx(sum(t.estimate.hours for t in planned))


def test_a_plan_is_plain_values_that_json_keeps():
    content = plan_to_dict(plan(heads=(6,)), HARDWARE)
    assert json.loads(json.dumps(content, allow_nan=False))["hardware"]["devices"] == 8
    row = content["trainings"][1]
    assert row["model"]["family"] == "enoki"
    assert row["model"]["layers"] == 4
    assert (row["steps"], row["warmup_steps"], row["decay_offset"]) == (13_950, 279, 1395.0)
    assert set(row["pfh"]) == {"6PD", "6N1", "6N2", "M"}
    assert row["lr_law"]["d"] == -0.618
    assert "c = 0" in row["lr_law"]["algorithm"]
    assert (
        sum(term["bytes"] for term in row["estimate"]["memory_terms"])
        == (row["estimate"]["memory_bytes"])
    )
