"""The reference's procedure does what was found of it: its saturation is its starting point."""

import numpy as np
import pytest

from adana.laws import fit_loss_laws
from adana.laws.paper_fit import HEADLINE, PaperStart, _Objective, paper_fit
from tests.laws.anchors import anchor_curves

FEW = 10_000
"""A fifth of the reference's steps; Adagrad's steps only get shorter."""


@pytest.mark.parametrize("form", ["broken", "single"])
def test_the_gradient_is_that_of_the_cost(form):
    objective = _Objective.of(anchor_curves(), form, "compute")
    at = np.array([-1.0, 0.3, 0.2, 0.1, 0.12, 0.6, 0.5, 0.03, 0.04])
    _, gradient = objective(at)
    for k, step in enumerate(1e-6 * np.eye(len(at))):
        slope = (objective(at + step)[0] - objective(at - step)[0]) / 2e-6
        assert gradient[k] == pytest.approx(slope, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("a_raw", [-3.1, -0.9])
def test_the_saturation_of_the_broken_law_stays_where_it_began(a_raw):
    curves = anchor_curves()
    ceiling = 0.99 * 2.7822
    began = ceiling / (1 + np.exp(-a_raw))
    start = PaperStart(a_raw=a_raw)
    laws = paper_fit(curves, start=start, steps=FEW)
    assert laws[:, 0] == pytest.approx(began, rel=0.12)
    misses = [
        np.log(a + b * curve.computes**-c + e * curve.computes**-f) - np.log(curve.means)
        for curve, (a, b, c, e, f) in zip(curves, laws, strict=True)
    ]
    assert np.sqrt(np.mean(np.square(misses))) < 5e-3


def test_the_headline_start_is_the_published_saturation_of_its_best_loss():
    assert 0.99 * 2.479 / (1 + np.exp(-HEADLINE.a_raw)) == pytest.approx(0.1058, abs=5e-5)


def test_a_fit_by_the_papers_method_says_so_and_has_no_intervals(monkeypatch):
    monkeypatch.setattr(paper_fit, "__kwdefaults__", {"start": None, "steps": 200})
    fit = fit_loss_laws(anchor_curves(), method="paper", form="broken")
    assert np.isnan(fit.interval("adamw")).all()
    assert "Adagrad" in fit.statements[0]


def test_the_papers_method_has_no_other_choices():
    with pytest.raises(ValueError, match="use another method"):
        fit_loss_laws(anchor_curves(), method="paper", saturation="zero")
