"""The deterministic equivalent: targets of spec/plrf.md section 13.2, sum rules, drawn matrices."""

import numpy as np
import pytest

from adana.plrf.atoms import power_law_atoms
from adana.plrf.equivalent import deterministic_spectrum, largest_alpha, resolvent
from adana.plrf.problem import PLRF
from tests.plrf.targets_of import grouped_rows

EQUIVALENT = grouped_rows("plrf_detequiv_targets.csv", ("alpha", "beta", "d", "v"))
RISKS = grouped_rows("plrf_risk_targets.csv", ("alpha", "beta", "d", "v"))


@pytest.mark.parametrize("case", EQUIVALENT, ids=str)
def test_the_fixed_point_and_counts_are_the_targets(case):
    alpha, beta, d, v = case
    fixed_point = resolvent(alpha, beta, int(d), int(v))
    for row in EQUIVALENT[case]:
        value = float(row["value"])
        match row["quantity"]:
            case "tau":
                assert fixed_point.at_zero == pytest.approx(value, rel=1e-8)
            case "twice_risk_inf":
                assert fixed_point.twice_floor == pytest.approx(value, rel=1e-8)
            case "count_above":
                assert fixed_point.count_above(float(row["x"])) == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(
    ("alpha", "beta", "d", "v"),
    [
        (1.0, 0.3, 400, 1600),
        (0.8, 0.25, 10**6, 4 * 10**6),
        (1.5, 1.4, 10**6, 5 * 10**6),
        (0.27, 0.8, 10**5, 4 * 10**5),
        (0.05, 0.8, 1000, 4000),
        (1.0, -0.3, 1000, 1010),
        (2.0, 0.5, 10, 11),
        (3.0, 0.8, 200, 800),
    ],
)
def test_the_cells_hold_all_eigenvalues_the_trace_and_the_starting_risk(alpha, beta, d, v):
    spectrum = deterministic_spectrum(alpha, beta, d, v)
    j = np.arange(1.0, v + 1)
    assert spectrum.dimension == pytest.approx(d, rel=1e-6)
    assert spectrum.trace == pytest.approx(np.sum(j ** (-2 * alpha)), rel=2e-6)
    assert 2 * spectrum.start == pytest.approx(np.sum(j ** (-2 * (alpha + beta))), rel=2e-6)
    assert (np.diff(spectrum.eigenvalues) < 0).all()
    assert (spectrum.errors > 0).all()
    assert spectrum.eigenvalues.size < 320


def test_cells_agree_with_counts_in_closed_form():
    spectrum = deterministic_spectrum(1.0, 0.3, 10**4)
    fixed_point = resolvent(1.0, 0.3, 10**4)
    middle = np.sqrt(spectrum.eigenvalues[1:] * spectrum.eigenvalues[:-1])
    counted = np.array([fixed_point.count_above(x) for x in middle[::10]])
    np.testing.assert_allclose(np.cumsum(spectrum.counts)[:-1:10], counted, rtol=0.02)
    # before the first eigenvalue, in the first gap, after the last one
    assert [fixed_point.count_above(x) for x in (2.0, 0.5, 1e-12)] == [0, 1, 10**4]


def test_large_eigenvalues_are_single_and_near_the_hidden_inputs_variances():
    spectrum = deterministic_spectrum(1.0, 0.3, 10**6)
    np.testing.assert_allclose(spectrum.counts[:80], 1, rtol=1e-6)
    np.testing.assert_allclose(spectrum.eigenvalues[:20], np.arange(1.0, 21) ** -2, rtol=1e-4)
    np.testing.assert_allclose(spectrum.errors[:20], np.arange(1.0, 21) ** -0.6, rtol=1e-3)


def assert_scatters(drawn, expected):
    error = np.std(drawn, ddof=1) / np.sqrt(len(drawn))
    assert error < 0.1 * expected
    assert np.mean(drawn) == pytest.approx(expected, abs=3 * error + 0.02 * expected)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.3), (0.7, 1.2), (0.4, 0.8)])
def test_drawn_matrices_scatter_about_it(alpha, beta):
    d = 150
    spectrum = deterministic_spectrum(alpha, beta, d)
    drawn = [PLRF(alpha, beta, d, seed=seed).draw().spectrum() for seed in range(8)]
    assert_scatters([one.floor for one in drawn], spectrum.floor)
    fixed_point = resolvent(alpha, beta, d)
    logs = np.mean([np.log(one.eigenvalues) for one in drawn], axis=0)
    for k in (3, 10, 30, 75, 120, 145):  # halfway between the k-th and the next
        between = np.exp((logs[k - 1] + logs[k]) / 2)
        assert fixed_point.count_above(between) == pytest.approx(k, rel=0.02, abs=0.5)
    # what gradient flow leaves of the risk after 1/x steps
    for part in (0.1, 0.5, 0.9):
        x = np.exp(logs[int(part * d)])
        assert_scatters([left(one, 1 / x) for one in drawn], left(spectrum, 1 / x))


def left(spectrum, time):
    held = spectrum.counts * spectrum.eigenvalues * spectrum.errors
    return held @ np.exp(-spectrum.eigenvalues * time)


@pytest.mark.parametrize("case", RISKS, ids=str)
def test_risks_of_sgd_on_it_are_the_targets(case):
    alpha, beta, d, v = case
    rows = {int(r["t"]): r for r in RISKS[case] if r["algorithm"] == "sgd"}
    step = float(rows[10]["gamma2"])
    spectrum = deterministic_spectrum(alpha, beta, int(d), int(v))
    weighted = spectrum.counts * spectrum.eigenvalues
    fresh = step * spectrum.eigenvalues
    errors = spectrum.errors
    for t in range(10**4 + 1):  # the exact recursion of spec section 3 at batch 1
        twice_risk = spectrum.twice_floor + weighted @ errors
        if t in rows:
            assert twice_risk / 2 == pytest.approx(float(rows[t]["risk"]), rel=0.003)
        errors = (1 - 2 * fresh + 2 * fresh**2) * errors + step * fresh * twice_risk


def test_atoms_sum_powers_of_the_hidden_index():
    j = np.arange(1.0, 20001)
    for alpha in (0.3, 1.0, 2.0):
        atoms = power_law_atoms(alpha, 0.4, 20000)
        np.testing.assert_allclose(atoms.counts.sum(), j.size, rtol=1e-7)
        for weight, exact in (
            (atoms.counts, np.ones_like(j)),
            (atoms.targets, j ** -(2 * alpha + 0.8)),
        ):
            D, tau = atoms.scales, 1000.0 ** (2 * alpha)
            expected = np.sum(exact / (1 + j ** (-2 * alpha) * tau))
            assert np.sum(weight / (1 + D * tau)) == pytest.approx(expected, rel=2e-7)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="2 alpha"):
        deterministic_spectrum(0.3, 0.1, 100)
    with pytest.raises(ValueError, match="hidden must be more than dimension"):
        deterministic_spectrum(1.0, 0.1, 100, 100)


@pytest.mark.parametrize("d", [100, 10**6, 10**10])
def test_all_eigenvalues_are_there_up_to_the_largest_alpha_and_no_further(d):
    alpha = largest_alpha(4 * d)
    assert deterministic_spectrum(alpha, 0.3, d).counts.sum() == pytest.approx(d, rel=1e-3)
    with pytest.raises(ValueError, match=r"alpha must be at most .* hidden inputs, got"):
        deterministic_spectrum(1.01 * alpha, 0.3, d)


def test_the_trace_is_as_exact_as_is_said():
    for alpha, tolerance in ((0.51, 3e-5), (5.0, 3e-5), (7.5, 1e-3)):
        trace = np.sum(np.arange(1.0, 4e6 + 1) ** (-2 * alpha))
        assert deterministic_spectrum(alpha, 0.3, 10**6).trace == pytest.approx(
            trace, rel=tolerance
        )
