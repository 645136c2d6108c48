"""Phases and exponents, against the tables of spec/plrf.md sections 7.1 to 7.3 and 13.7."""

import numpy as np
import pytest

from adana.plrf.phases import ALGORITHMS, FLOOR_BORDER, IV_BORDER, exponents, phase
from tests.plrf.targets_of import grouped_rows

GRID = [
    (a, b)
    for a in (0.1, 0.2, 0.27, 0.4, 0.6, 0.7, 0.9, 1.1, 1.5)
    for b in (-0.3, 0.1, 0.3, 0.55, 0.8, 1.2, 2.0)
    if 2 * a + 2 * b > 1
]


def table(a, b, algorithm):
    """Exponents in compute and the optimal d's exponent (None where the spec has none), 7.3."""
    p, name = 2 * a + 2 * b - 1, phase(a, b)
    below = {
        "Ib": (a + b - 1 / 2, 1 / 2),
        "Ic": (
            a * p / (2 * b - 1 - a * (2 * b - 3)),
            p / (2 * (2 * b - 1 - a * (2 * b - 3))),
        ),
        "IVa": (a, 1 / 2),
        "IVb": (
            (1 - 2 * a) * p / (2 * (2 * b - 2 * a * b - a)),
            (b - a) / (2 * b - 2 * a * b - a),
        ),
    }
    if name in below:
        return below[name]
    if algorithm == "DANA-constant":
        return {
            "Ia": (p / (a + 3 / 2), 1 / (a + 3 / 2)),
            "II": (p / (3 * b + a) if a < 3 / 4 else 4 * a / (2 * a + 3), None),
            "III": (1 - 1 / (4 * a) if a < 3 / 4 else 4 * a / (2 * a + 3), None),
        }[name]
    if algorithm in {"DANA-decaying", "damped average"}:
        steep = a > FLOOR_BORDER
        high = 2 * a * (4 * a - 1) / (4 * a**2 + 4 * a - 1)
        return {
            "Ia": (p * (4 * a - 1) / (4 * a**2 + 4 * a - 1), (4 * a - 1) / (4 * a**2 + 4 * a - 1)),
            "II": (high if steep else p * (4 * a - 1) / (2 * (b * (4 * a - 1) + 2 * a**2)), None),
            "III": (high if steep else (4 * a - 1) ** 2 / (2 * a * (6 * a - 1)), None),
        }[name]
    return {
        "Ia": (p / (2 * a + 1), 1 / (2 * a + 1)),
        "II": (p / (2 * (a + b)), b / (a + b)),
        "III": (1 - 1 / (4 * a), 1 / 2),
    }[name]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_exponents_in_compute_are_those_of_the_table(algorithm):
    seen = set()
    for a, b in GRID:
        found = exponents(a, b, algorithm)
        compute, size = table(a, b, algorithm)
        assert found.compute == pytest.approx(compute, rel=1e-12), (a, b)
        if size is not None:
            assert found.size == pytest.approx(size, rel=1e-12), (a, b)
        seen.add(found.phase)
    assert seen == {"Ia", "Ib", "Ic", "II", "III", "IVa", "IVb"}


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ((1.0, 0.3), "Ia"),
        ((1.0, -0.3), "Ia"),
        ((0.4, 0.2), "Ib"),
        ((0.2, 0.8), "Ic"),
        ((1.0, 0.7), "II"),
        ((1.0, 1.3), "III"),
        ((0.45, 0.8), "IVa"),
        ((0.27, 0.8), "IVb"),
    ],
)
def test_phases_are_the_regions_of_the_papers(point, name):
    assert phase(*point) == name


def test_terms_come_in_the_order_of_the_curve():
    def shape(a, b):
        return [term.name for term in exponents(a, b, "SGD").terms]

    assert shape(1.0, 0.3) == shape(0.4, 0.2) == shape(0.2, 0.8) == ["F_pp"]
    assert shape(1.0, 0.7) == ["F_pp", "F_ac"]
    assert shape(1.0, 1.3) == ["K_pp", "F_ac"]
    assert shape(0.4, 0.8) == ["F_pp", "K_pp"]


def test_exponents_in_time_follow_the_clock():
    p, x = 2 * (1.0 + 0.3) - 1, 1 / 2
    assert exponents(1.0, 0.3, "SGD").time == pytest.approx(p / 2)
    assert exponents(1.0, 0.3, "DANA-constant").time == pytest.approx(p)
    assert exponents(1.0, 0.3, "DANA-decaying").time == pytest.approx(p / 2 * (2 - x))
    assert exponents(1.0, 1.3, "DANA-decaying").time == pytest.approx((2 - x) ** 2)
    for algorithm in ALGORITHMS:
        assert exponents(0.4, 0.2, algorithm).time == pytest.approx((2 * 0.6 - 1) / 0.8)


def test_times_to_the_floor_are_those_of_the_spec():
    a = 0.8
    found = {name: exponents(a, 0.25, name).floor_time for name in ALGORITHMS}
    assert found["SGD"] == found["Schedule-Free SGD"] == 2 * a
    assert found["DANA-constant"] == pytest.approx(a + 1 / 2)
    assert found["DANA-decaying"] == pytest.approx(4 * a**2 / (4 * a - 1))
    assert exponents(0.4, 0.2, "DANA-decaying").floor_time == pytest.approx(1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("border", "across"),
    [
        ((0.25, 0.8), (1, 0)),
        ((IV_BORDER, 0.8), (1, 0)),
        ((0.5, 0.8), (1, 0)),
        ((0.5, 0.3), (1, 0)),
        ((1.0, 0.5), (0, 1)),
        ((0.4, 0.5), (0, 1)),
        ((1.0, 1.0), (0, 1)),
    ],
)
def test_exponents_are_continuous_across_borders(border, across, algorithm):
    step = 1e-7 * np.array(across)
    before, after = (exponents(*(border + side * step), algorithm) for side in (-1, 1))
    assert before.phase != after.phase
    assert before.compute == pytest.approx(after.compute, abs=1e-5)


def test_measured_exponents_are_near_where_they_are_confirmed():
    names = {"sgd": "SGD", "danac": "DANA-constant", "danad": "DANA-decaying"}
    confirmed = 0
    rows = grouped_rows("plrf_compute_optimal.csv", ("alpha", "beta", "algorithm"))
    for (alpha, beta, algorithm), (row,) in rows.items():
        found = exponents(alpha, beta, names[algorithm])
        predicted = float(row["predicted_loss_exponent"])
        assert found.compute == pytest.approx(predicted, abs=1e-4)
        if found.confirmed:
            confirmed += 1
            assert float(row["measured_upper_half"]) == pytest.approx(found.compute, abs=0.025)
    assert confirmed == 19


@pytest.mark.parametrize(
    ("point", "algorithm"),
    [
        ((1.0, 1.3), "DANA-constant"),
        ((0.7, 1.2), "DANA-decaying"),
        ((1.5, 0.8), "DANA-decaying"),
        ((0.2, 0.8), "SGD"),
    ],
)
def test_what_the_spec_calls_uncertain_says_so(point, algorithm):
    found = exponents(*point, algorithm)
    assert not found.confirmed
    assert found.note
    assert exponents(1.0, 0.3, algorithm).confirmed
    assert not exponents(1.0, 0.3, algorithm).note


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="algorithm must be one of 'SGD'"):
        exponents(1.0, 0.3, "Adam")
    with pytest.raises(ValueError, match="2 alpha"):
        phase(0.2, 0.1)


def test_the_best_size_jumps_between_the_two_parts_of_phase_iv():
    below, above = (exponents(IV_BORDER + side * 1e-7, 0.8, "SGD") for side in (-1, 1))
    assert below.size == pytest.approx(0.6048, abs=1e-3)
    assert above.size == pytest.approx(0.5, abs=1e-3)


def test_the_exponent_in_time_jumps_where_noise_begins_to_lead():
    """From IVa, where F_pp leads, to III, where K_pp does: 2 beta against 1."""
    left, right = (exponents(alpha, 0.8, "SGD") for alpha in (0.5, 0.5 + 1e-9))
    assert (left.phase, right.phase) == ("IVa", "III")
    assert left.time == pytest.approx(1.6)
    assert right.time == pytest.approx(1.0)
    assert right.compute == pytest.approx(left.compute)
