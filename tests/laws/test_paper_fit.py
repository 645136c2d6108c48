"""The reference's procedure, as it was measured on its own anchor points (spec section 3)."""

import numpy as np
import pytest
import torch

from adana.laws import fit_loss_laws
from adana.laws.multiplier_curve import multiplier_of_laws
from adana.laws.paper_fit import START, paper_fit
from tests.laws.anchors import anchor_curves


def loss_of_torch(form, curves, parameters, top):
    a, rows = torch.sigmoid(parameters[0]) * top, parameters[1:].reshape(4, len(curves))
    terms = []
    for (b, c, e, f), curve in zip(rows.T, curves, strict=True):
        x, y = torch.tensor(np.log(curve.computes)), torch.tensor(np.log(curve.means))
        if form == "broken":
            terms.append(torch.log(a + torch.exp(b - c * x) + torch.exp(e - f * x)) - y)
        else:
            terms.append(torch.log(torch.exp(y) - a + 1e-8) - (b - c * x))
    return torch.cat(terms).square().mean()


@pytest.mark.parametrize(("form", "room"), [("broken", 0.99), ("single", 0.95)])
def test_the_steps_are_those_of_adagrad_on_the_same_objective(form, room):
    curves = anchor_curves()
    top = room * min(curve.means.min() for curve in curves)
    b, c, e, f = START[form]
    rest = np.repeat([np.log(b), c, np.log(e) if e else 0.0, f], len(curves))
    start = 1.0
    parameters = torch.tensor([np.log(start / (top - start)), *rest], requires_grad=True)
    optimizer = torch.optim.Adagrad([parameters], 0.1, initial_accumulator_value=0.1, eps=1e-7)
    lowest = np.inf
    for _ in range(301):
        optimizer.zero_grad()
        loss = loss_of_torch(form, curves, parameters, top)
        lowest = min(lowest, loss.item())
        loss.backward()
        optimizer.step()
    found = paper_fit(curves, form, saturations=[start], steps=300)
    assert found.objective[0] == pytest.approx(lowest, rel=2e-3)


def test_the_published_start_of_the_saturation_does_not_move():
    found = paper_fit(anchor_curves(), steps=3000)
    assert found.started == pytest.approx(0.1187, abs=1e-4)
    assert found.laws[0, :, 0] == pytest.approx(found.started[0], abs=0.002)


@pytest.mark.slow
def test_the_saturation_ends_near_where_it_began_and_the_multiplier_hardly_cares():
    found = paper_fit(anchor_curves(), saturations=[0.119, 0.74, 1.38])
    assert found.laws[:, 0, 0] == pytest.approx([0.119, 0.67, 1.095], abs=0.03)
    assert found.objective.min() > 2.7e-7 / 1.1
    assert found.objective.max() < 4.5e-6 * 1.1
    inside = [multiplier_of_laws(*row, np.array([0.3, 11.3])) for row in found.laws]
    assert np.ptp(inside, axis=0).max() < 0.03
    assert np.array(inside) == pytest.approx(np.array([[1.285, 1.335]] * 3), abs=0.016)


def test_as_a_method_it_has_no_interval_and_says_where_the_saturation_began(monkeypatch):
    monkeypatch.setattr(
        "adana.laws.paper_fit.paper_fit.__kwdefaults__",
        {
            "weights": "equal",
            "saturations": None,
            "steps": 50,
        },
    )
    fit = fit_loss_laws(anchor_curves(), form="broken", method="paper")
    assert np.isnan(fit.interval("adamw")).all()
    assert "started at 0.1187" in fit.statements[0]
    assert fit.rms == pytest.approx(
        np.sqrt(np.mean(np.concatenate(list(fit.residuals.values())) ** 2))
    )


def test_other_choices_than_the_papers_are_refused():
    with pytest.raises(ValueError, match="saturation shared and exponents free"):
        fit_loss_laws(anchor_curves(), method="paper", exponents="shared")
    with pytest.raises(ValueError, match="must start between"):
        paper_fit(anchor_curves(), saturations=[3.0])
