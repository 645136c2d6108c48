"""Every experiment, small: what it finds is what the theory says, in its tables and its words."""

import math

import numpy as np
import pytest

from adana.plrf.experiments.alpha_tilde import alpha_tilde_experiment
from adana.plrf.experiments.clock import clock_experiment
from adana.plrf.experiments.frontier import frontier_experiment
from adana.plrf.experiments.hummingbird import hummingbird_experiment
from adana.plrf.experiments.instability import instability_experiment
from adana.plrf.experiments.kappa import kappa_experiment
from adana.plrf.experiments.phases import EXAMPLES, phases_experiment
from adana.plrf.experiments.risk import risk_experiment
from adana.plrf.experiments.tau import tau_experiment
from adana.plrf.experiments.theorems import theorems_experiment


def table(result, name):
    return next(sheet for sheet in (*result.tables, *result.data) if sheet.name == name).records


def test_risk_measures_the_slopes_of_the_theory():
    result = risk_experiment(dimension=1_000_000, total_steps=10**6, gain=1.0, runs=0)
    rows = {row["method"]: row for row in table(result, "risk-slopes")}
    assert rows["SGD"]["1e4-1e5"] == pytest.approx(-0.8, abs=0.005)
    assert rows["SGD-M"]["1e4-1e5"] == pytest.approx(-0.8, abs=0.005)
    assert rows["DANA-constant"]["1e3-1e4"] == pytest.approx(-0.8, abs=0.005)  # before t ~ d
    assert rows["DANA-decaying"]["1e4-1e5"] == pytest.approx(-1.2, abs=0.03)
    assert rows["DANA-constant"]["theory"] == "-0.8, then -1.6"
    assert "theory says t^-1.200" in result.findings[1]
    assert "times fewer" in result.findings[2]


def test_risk_knows_where_a_second_power_law_has_taken_over():
    result = risk_experiment(beta=1.3, dimension=1_000_000, total_steps=10**8, runs=0)
    rows = {row["method"]: row for row in table(result, "risk-slopes")}
    assert rows["SGD"]["theory"] == "-1.5, then -0.5"
    assert rows["SGD"]["1e7-1e8"] == pytest.approx(-0.5, abs=0.02)
    assert '"t^-0.5"' in result.plots[0].chart.to_json()  # the guide beside that decade


def test_risk_compares_simulated_runs_with_the_recursion():
    result = risk_experiment(
        dimension=1000, total_steps=1000, batch=16, runs=32, simulated_dimension=40,
        simulated_steps=400,
    )  # fmt: skip
    for row in table(result, "risk-simulated-agreement"):
        assert abs(row["mean ratio"] - 1) < min(4 * row["standard error"], 0.1)
    assert "Simulated on a drawn problem with d = 40" in result.findings[-1]
    assert {plot.name for plot in result.plots} == {"risk", "risk-simulated"}


def test_the_best_kappa_lies_below_one_over_two_alpha_and_follows_it():
    best = {}
    for alpha in (0.8, 1.5):
        result = kappa_experiment(alpha, dimension=100_000, total_steps=10**4, spacing=0.1)
        row = table(result, "kappa-best")[-1]
        best[alpha] = row["best kappa"]
        assert row["1/(2 alpha)"] == pytest.approx(1 / (2 * alpha))
        assert row["cost of theory"] < 1.6
    assert best[1.5] == pytest.approx(0.35, abs=0.06)
    assert best[0.8] == pytest.approx(0.53, abs=0.06)
    risks = {(r["T"], round(r["kappa"], 3)): r["risk"] for r in table(result, "kappa")}
    assert math.isnan(risks[10**4, 0.0])  # undamped: diverged


def test_kappa_says_where_the_floor_decides_and_where_the_best_is_at_the_edge():
    result = kappa_experiment(0.4, 0.8, dimension=1000, total_steps=10**5, spacing=0.2)
    assert table(result, "kappa-best")[-1]["floor / lowest"] > 0.3
    assert any("the floor is" in sentence for sentence in result.findings)
    assert any("edge of the values tried" in sentence for sentence in result.findings)


def test_the_best_straight_multiplier_falls_as_the_theory_says():
    result = alpha_tilde_experiment(dimension=100_000, batches=(1, 4), total_steps=10**5)
    one, four = table(result, "alpha-tilde-law")
    assert one["exponent"] == pytest.approx(-0.5, abs=0.06)
    assert four["factor"] / one["factor"] == pytest.approx(4, rel=0.35)


def test_phases_gives_every_phase_its_exponents_and_measures_those_above_the_line():
    result = phases_experiment(1.2, 0.4, dimension=1_000_000, total_steps=10**6)
    rows = table(result, "phases-exponents")
    assert {row["phase"] for row in rows} == set(EXAMPLES)
    for row in rows:
        if row["measured"] is not None:
            assert row["measured"] == pytest.approx(row["time"], rel=0.2)
    measured = {(row["phase"], row["method"]) for row in rows if row["measured"] is not None}
    assert {("Ia", "SGD"), ("II", "SGD"), ("Ia", "DANA-decaying")} <= measured
    assert not {phase for phase, _ in measured} & {"Ib", "Ic", "IVa", "IVb"}
    assert "(1.2, 0.4) is in phase Ia" in result.findings[0]


def test_the_clock_runs_as_two_minus_one_over_two_alpha():
    result = clock_experiment((1.3,), 0.4, dimension=100_000, total_steps=10**5)
    (row,) = table(result, "clock-slopes")
    assert row["1e4-1e5"] == pytest.approx(2 - 1 / 2.6, abs=0.02)
    assert row["of theory"] == pytest.approx(1, abs=0.15)
    with pytest.raises(ValueError, match="alphas"):
        clock_experiment((0.5,))


def test_the_frontier_has_the_exponents_of_the_theory():
    result = frontier_experiment(smallest=100, largest=10_000, most_compute=1e9)
    rows = {row["method"]: row for row in table(result, "frontier-exponents")}
    for row in rows.values():
        assert row["P exponent"] == pytest.approx(row["P theory"], abs=0.03)
    assert rows["SGD"]["d exponent"] == pytest.approx(rows["SGD"]["d theory"], abs=0.05)


def test_undamped_momentum_explodes_at_every_batch_but_not_without_noise():
    result = instability_experiment(
        dimension=10_000, batches=(4, 16, math.inf), total_steps=10**5, runs=0
    )
    four, sixteen, exact = table(result, "instability-batches")
    assert four["lowest at"] < four["gain 1 at"] < four["exploded at"]
    assert sixteen["exploded at"] / four["exploded at"] == pytest.approx(16, rel=0.35)
    assert exact["exploded at"] is None
    assert "2 of 2 finite batches" in result.findings[0]


@pytest.mark.slow
def test_of_the_ablations_the_undamped_one_rises_again():
    result = instability_experiment(
        dimension=1000, batches=(4,), total_steps=1000, ablated_dimension=30, ablated_batch=8,
        ablated_steps=300, runs=2,
    )  # fmt: skip
    rows = table(result, "instability-optimizers-rates")
    rise = {
        name: np.exp(np.mean([np.log(r["final / lowest"]) for r in rows if r["method"] == name]))
        for name in ("ADana", "Log-NAdamW")
    }
    assert rise["Log-NAdamW"] > 2 * rise["ADana"]


@pytest.mark.slow
def test_theorems_shows_what_is_bounded():
    result = theorems_experiment(
        deltas=(0.1,), total_steps=1000, rare_steps=200, rarest=0.03, runs=8
    )
    rows = {row["method"]: row for row in table(result, "theorems-sparse-exponents")}
    strays = {name: row["strays like p^"] for name, row in rows.items()}
    assert strays["ADana"] < strays["ADana x sqrt(p)"] - 0.2
    assert rows["ADana"]["furthest"] > rows["ADana x sqrt(p)"]["furthest"]
    assert rows["ADana"]["grows like t^"] > rows["ADana x sqrt(p)"]["grows like t^"]
    assert len(result.plots) == 3


def test_tau_orders_experts_by_how_often_they_are_trained():
    result = tau_experiment(dimension=20, experts=8, batch=4, total_steps=1000)
    rows = table(result, "tau-experts")
    assert [row["expert"] for row in rows] == list(range(1, 9))
    assert rows[0]["tau"] > rows[2]["tau"] > rows[7]["tau"]
    assert all(0.5 < row["ratio"] < 1.1 for row in rows)


def test_hummingbird_has_a_curve_for_every_optimizer_and_kappa():
    result = hummingbird_experiment(
        dimension=10, experts=32, batch=2, total_steps=300, optimizers=("ADana", "Dana-Star-MK4"),
        kappas=(0.0, 0.75), rates=(1e-2,), runs=2,
    )  # fmt: skip
    rows = table(result, "hummingbird-final")
    assert [row["optimizer"] for row in rows] == ["Adam", *["ADana"] * 2, *["Dana-Star-MK4"] * 2]
    assert [row["kappa"] for row in rows[1:]] == [0.0, 0.75, 0.0, 0.75]
    assert all(0 < row["final risk"] < math.inf for row in rows)
    assert [plot.name for plot in result.plots] == [
        "hummingbird", "hummingbird-adana", "hummingbird-dana-star-mk4",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="the choice is"):
        hummingbird_experiment(optimizers=("SGD",), dimension=10, total_steps=10)


@pytest.mark.parametrize(
    "experiment",
    [
        risk_experiment,
        kappa_experiment,
        alpha_tilde_experiment,
        phases_experiment,
        frontier_experiment,
        instability_experiment,
        tau_experiment,
        hummingbird_experiment,
    ],
)
def test_a_target_of_infinite_norm_is_refused_with_what_to_do(experiment):
    with pytest.raises(ValueError, match=r"take beta above 0\.2"):
        experiment(0.3, 0.1)


def test_sentences_hold_where_there_is_little_to_say():
    small = phases_experiment(dimension=10, total_steps=1000)
    assert any("No slope was measured" in sentence for sentence in small.findings)
    strong = kappa_experiment(dimension=1000, total_steps=1000, gain=10.0, spacing=0.1)
    assert not any("nan" in sentence for sentence in strong.findings)
    assert any("kappa = 1/(2 alpha) diverges" in sentence for sentence in strong.findings)
    tiny = clock_experiment((1.0,), dimension=20, total_steps=10_000)
    assert any("the floor is" in sentence for sentence in tiny.findings)
    few = instability_experiment(dimension=20, batches=(4, 1024), total_steps=10**6, runs=0)
    assert any("At batch 1024 its noise gain did not reach 1" in said for said in few.findings)
    exact = instability_experiment(dimension=20, batches=(np.inf,), total_steps=100, runs=0)
    assert "did not explode within the steps computed" in exact.findings[-1]


@pytest.mark.parametrize(
    ("experiment", "arguments", "said"),
    [
        (alpha_tilde_experiment, {"batches": ()}, "batches must name at least one"),
        (instability_experiment, {"batches": ()}, "batches must name at least one"),
        (risk_experiment, {"runs": 1}, "runs .* must be an integer of at least 2"),
        (risk_experiment, {"simulated_steps": 50}, "simulated_steps must be"),
    ],
)
def test_what_leaves_nothing_to_compare_is_refused(experiment, arguments, said):
    with pytest.raises(ValueError, match=said):
        experiment(dimension=1000, **arguments)


def test_a_point_beyond_the_map_is_not_said_to_be_on_it():
    plots = phases_experiment(2.0, 0.3, dimension=1000, total_steps=1000).plots
    assert "does not reach" in plots[0].caption
