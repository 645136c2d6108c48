"""Every experiment, small: what it finds is what the theory says, in its tables and its words."""

import math
import re

import numpy as np
import pytest

from adana.plrf.blocks import integrate
from adana.plrf.curve import RiskCurve, SimulatedRisk
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.experiments.alpha_tilde import alpha_tilde_experiment
from adana.plrf.experiments.clock import clock_experiment
from adana.plrf.experiments.frontier import frontier_experiment
from adana.plrf.experiments.hummingbird import hummingbird_experiment
from adana.plrf.experiments.instability import instability_experiment
from adana.plrf.experiments.kappa import kappa_experiment
from adana.plrf.experiments.phases import EXAMPLES, phases_experiment
from adana.plrf.experiments.risk import risk_experiment
from adana.plrf.experiments.simulated import agreement
from adana.plrf.experiments.tau import _order, tau_experiment
from adana.plrf.experiments.terms import leading_decade, noise_level, too_short_memory
from adana.plrf.experiments.theorems import theorems_experiment
from adana.plrf.momentum import default_step, sgd
from adana.plrf.phases import exponents


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


def test_a_divergence_of_simulated_runs_is_a_result():
    result = risk_experiment(
        dimension=100, total_steps=1000, gain=40.0, runs=2, simulated_dimension=20,
        simulated_steps=200,
    )  # fmt: skip
    sgd, dana = table(result, "risk-simulated-agreement")
    assert sgd["mean ratio"] > 0
    assert dana["mean ratio"] is dana["standard error"] is dana["largest gap"] is None
    assert "risk of DANA-decaying diverges after step" in result.findings[-1]
    steps = [r["step"] for r in table(result, "risk-simulated") if r["method"] == "DANA-decaying"]
    assert 0 < max(steps) < 100


def test_a_divergence_after_the_comparison_began_is_compared_until_then():
    steps = np.array([10, 100, 200, 300])
    curve = RiskCurve("DANA", steps[:3], np.array([4.0, 2.0, 8.0]), np.zeros(3), diverged=True)
    risk = np.array([[[9.0, 2.0, 8.0, np.nan], [9.0, 4.0, 16.0, 1e300]]])
    (row,) = agreement([curve], SimulatedRisk(("DANA",), steps, risk))
    assert row["mean ratio"] == pytest.approx(1.5)
    assert row["standard error"] == pytest.approx(0.5)
    assert row["largest gap"] == pytest.approx(0.5)


@pytest.mark.parametrize(("alpha", "beta", "least"), [(0.55, 1.0, None), (1.0, 1.3, 1e3)])
def test_in_phase_iii_a_slope_is_compared_once_noise_leads(alpha, beta, least):
    """F_pp and K_pp cross at step 246 and 125, as found from their laws."""
    spectrum = deterministic_spectrum(alpha, beta, 1_000_000)
    theory = exponents(alpha, beta, "SGD")
    found = integrate(spectrum, sgd(default_step(spectrum.trace)), batch=1, total_steps=10**6)
    crossing = np.interp(-noise_level(spectrum, theory), -found.risk, found.steps)
    assert crossing == pytest.approx(246 if alpha < 1 else 125, rel=0.2)
    span = leading_decade(spectrum, theory, found, 2)
    assert (span and span[0]) == least


def test_risk_says_where_noise_has_not_yet_taken_over():
    result = risk_experiment(0.55, 1.0, dimension=1_000_000, total_steps=10**6, runs=0)
    assert "SGD: no decade in which" in result.findings[0]
    assert "gradient noise (K_pp) takes over from F_pp at a risk of about" in result.findings[0]
    assert not any("theory says" in said for said in result.findings)


def test_a_memory_that_is_too_short_is_not_compared_with_the_theory():
    """Spec 7.2: 1.5 p - kappa/2 = 0.95 at alpha = 1, beta = 0.3."""
    short = risk_experiment(dimension=10_000, total_steps=10**4, delta=0.5, runs=0)
    rows = {row["method"]: row for row in table(short, "risk-slopes")}
    assert rows["SGD"]["confirmed"]
    assert not rows["DANA-decaying"]["confirmed"]
    assert "DANA-decaying: delta = 0.5 is not above 0.95" in short.findings[1]
    long = risk_experiment(dimension=10_000, total_steps=10**4, delta=1.0, runs=0)
    rows = {row["method"]: row for row in table(long, "risk-slopes")}
    assert rows["DANA-decaying"]["confirmed"]
    assert not rows["DANA-constant"]["confirmed"]  # of kappa 0: 2 p = 1.6
    average = exponents(1.0, 0.3, "damped average")  # one more, for its own normalisation
    assert too_short_memory(average, 1.9) == pytest.approx(1.95)
    assert too_short_memory(average, 2.0) is None
    clock = clock_experiment((1.0,), dimension=10_000, total_steps=1000, delta=0.5)
    assert "delta = 0.5 is not above 0.95: the memory is too short" in clock.findings[0]


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
    assert table(result, "kappa-best")[-1]["edge"] == "end"


def test_kappa_tells_a_neighbour_that_diverges_from_the_edge():
    result = kappa_experiment(dimension=10_000, total_steps=10**4, spacing=0.2)
    assert table(result, "kappa-best")[-1]["edge"] == "divergence"
    assert any("take a finer spacing" in sentence for sentence in result.findings)
    assert not any("edge of the values tried" in sentence for sentence in result.findings)


def test_kappa_says_what_a_batch_does_to_the_best_value():
    best = {}
    for batch in (1, 16):
        result = kappa_experiment(dimension=100_000, batch=batch, total_steps=10**5, spacing=0.1)
        best[batch] = table(result, "kappa-best")[-1]["best kappa"]
        assert any("grows with the batch" in said for said in result.findings) == (batch > 1)
    assert "ln(batch)/ln T = 0.24" in result.findings[1]
    assert best[1] - best[16] == pytest.approx(0.24, abs=0.05)


def test_the_best_straight_multiplier_falls_as_the_theory_says():
    result = alpha_tilde_experiment(dimension=100_000, batches=(1, 4), total_steps=10**5)
    one, four = table(result, "alpha-tilde-law")
    assert one["exponent"] == pytest.approx(-0.5, abs=0.06)
    assert four["factor"] / one["factor"] == pytest.approx(4, rel=0.35)


def test_a_batch_without_a_law_does_not_take_the_others_with_it():
    result = alpha_tilde_experiment(dimension=10_000, batches=(1, 100_000), total_steps=10**4)
    one, many = table(result, "alpha-tilde-law")
    assert one["exponent"] == pytest.approx(-0.5, abs=0.1)
    assert many["exponent"] is many["factor"] is None
    rows = [row for row in table(result, "alpha-tilde-best") if row["batch"] == 100_000]
    assert all(0.3 < row["best a"] < 1 and row["edge"] == "divergence" for row in rows)
    assert "from about a = 0.75 on the fastest direction oscillates" in result.findings[1]
    assert "theory" not in result.findings[1]


def test_left_of_the_line_the_best_multiplier_is_not_compared_with_a_theory():
    result = alpha_tilde_experiment(0.4, 0.6, dimension=1000, batches=(1, 4), total_steps=10**4)
    assert all(row["theory"] is None for row in table(result, "alpha-tilde-law"))
    assert any("momentum cannot help there" in said for said in result.findings)
    assert not any("theory says" in said for said in result.findings)
    assert "(theory)" not in result.plots[0].chart.to_json()


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


def test_the_clock_is_not_compared_where_momentum_is_not_yet_ahead():
    result = clock_experiment((1.0,), dimension=10_000, total_steps=1000, gain=0.001)
    assert table(result, "clock-slopes")[0]["of theory"] is None


def test_the_frontier_has_the_exponents_of_the_theory():
    result = frontier_experiment(smallest=100, largest=10_000, most_compute=1e9)
    rows = {row["method"]: row for row in table(result, "frontier-exponents")}
    for row in rows.values():
        assert row["P exponent"] == pytest.approx(row["P theory"], abs=0.03)
    assert rows["SGD"]["d exponent"] == pytest.approx(rows["SGD"]["d theory"], abs=0.05)


def test_a_method_that_diverges_at_every_size_has_no_frontier():
    with pytest.raises(ValueError, match="DANA-decaying diverges at every dimension d"):
        frontier_experiment(smallest=100, largest=10_000, most_compute=1e9, gain=20.0)


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


@pytest.mark.parametrize(
    ("active", "tau", "said"),
    [
        ([0.9, 0.5, 0.1], [0.3, 0.2, 0.1], "It orders the experts by their activity"),
        ([0.9, 0.5, 0.1], [0.1, 0.2, 0.3], "does not order the experts .* correlation -1.000"),
        ([1.0, 1.0, 1.0], [0.1, 0.2, 0.3], "no order to find"),
    ],
)
def test_tau_says_whether_it_orders_the_experts(active, tau, said):
    rows = [{"active": q, "tau": t} for q, t in zip(active, tau, strict=True)]
    assert re.search(said, _order(rows))


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
