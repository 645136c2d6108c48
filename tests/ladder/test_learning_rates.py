import math

import pytest

from adana.ladder import DEMO_BATCH, DEMO_MODEL, peak_learning_rate
from adana.ladder import learning_rates as module
from adana.nn import EnokiConfig

HEADS = (6, 8, 12, 16, 20, 24, 32, 40)
EVALUATED = {
    ("adamw", 0.85): "3.79e-3 2.29e-3 1.23e-3 7.85e-4 5.56e-4 4.20e-4 2.69e-4 1.91e-4",
    ("adamw-log-decay", 0.85): "4.49e-3 2.48e-3 1.18e-3 6.99e-4 4.66e-4 3.34e-4 1.98e-4 1.32e-4",
    ("dana-mk4", 0.75): "7.91e-4 3.95e-4 1.67e-4 9.07e-5 5.65e-5 3.83e-5 2.08e-5 1.30e-5",
    ("dana-mk4", 0.85): "1.17e-3 6.30e-4 2.94e-4 1.71e-4 1.13e-4 7.99e-5 4.65e-5 3.06e-5",
    ("dana-star-mk4", 0.85): "1.98e-3 1.10e-3 4.86e-4 2.64e-4 1.64e-4 1.10e-4 5.92e-5 3.65e-5",
    ("ademamix", 0.85): "1.62e-3 9.87e-4 5.35e-4 3.47e-4 2.48e-4 1.88e-4 1.22e-4 8.70e-5",
    ("ademamix-log-decay", 0.85): "1.84e-3 1.10e-3 5.82e-4 3.70e-4 2.60e-4 1.95e-4 1.24e-4 8.74e-5",
    ("adana", 0.75): "6.75e-4 3.66e-4 1.71e-4 1.00e-4 6.59e-5 4.68e-5 2.73e-5 1.80e-5",
    ("adana", 0.85): "1.30e-3 7.14e-4 3.38e-4 1.98e-4 1.31e-4 9.36e-5 5.49e-5 3.63e-5",
}
"""spec/training.md section 3.1, "Evaluated (Enoki, batch 32)", three digits each; all rows but that
of Muon, which is no optimizer here."""
LAW_ROUNDING = 5e-4
"""The laws' coefficients have three digits too: two entries are this close to the other side."""


def rate(optimizer, model, batch_size=32, kappa=0.85, omega=4.0, **more):
    return peak_learning_rate(optimizer, model, batch_size, kappa=kappa, omega=omega, **more)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("optimizer", "kappa"), EVALUATED)
def test_the_laws_give_the_published_rates(optimizer, kappa, heads):
    published = float(EVALUATED[optimizer, kappa].split()[HEADS.index(heads)])
    half_a_digit = 0.5 * 10 ** (math.floor(math.log10(published)) - 2)
    result = rate(optimizer, EnokiConfig(heads=heads), kappa=kappa)
    assert result.lr == pytest.approx(published, abs=half_a_digit + LAW_ROUNDING * published)


@pytest.mark.parametrize(
    ("optimizer", "kappa", "a", "b", "d"),
    [
        ("adana", 0.80, 17.6, 3.66e4, -0.624),
        ("adana", 0.90, 68.9, 2.95e4, -0.667),
        ("dana-star-mk4", 0.75, 41.0, 3.03e4, -0.661),
    ],
)
def test_the_laws_that_are_not_in_the_evaluated_table_have_the_published_numbers(
    optimizer, kappa, a, b, d
):
    found = rate(optimizer, EnokiConfig(heads=6), kappa=kappa)
    assert found.lr == pytest.approx(a * (b + 7_077_888) ** d)


def test_where_the_law_was_fitted_its_source_has_no_reservation():
    source = rate("adana", EnokiConfig(heads=6)).source
    assert "2602.05298" in source
    assert "extrapolated" not in source
    assert "--sweep-lr" not in source


def test_a_smaller_model_is_said_to_be_an_extrapolation():
    source = rate("adana", EnokiConfig(heads=4)).source
    assert "extrapolated from P of 7.1 to 510 M to 2.4 M" in source
    assert "--sweep-lr" in source


@pytest.mark.parametrize(("batch", "length"), [(64, 2048), (32, 1024)])
def test_another_batch_in_tokens_is_said(batch, length):
    source = rate("adamw", EnokiConfig(heads=6, sequence_length=length), batch).source
    assert f"fitted at 65536 tokens a step, this run has {batch * length}" in source
    assert "--sweep-lr" in source


def test_the_same_batch_in_other_pieces_is_the_same_batch():
    source = rate("adamw", EnokiConfig(heads=6, sequence_length=1024), 64).source
    assert "tokens a step" not in source


@pytest.mark.parametrize("kappa", [0.5, 0.7, 0.849, 1.0])
def test_a_kappa_without_a_law_is_refused_with_what_to_do(kappa):
    message = rf"no rule .* for adana at kappa {kappa:g} in enoki\. Pass one \(--lr\).*--sweep-lr"
    with pytest.raises(ValueError, match=message):
        rate("adana", EnokiConfig(heads=6), kappa=kappa)


@pytest.mark.parametrize("kappa", [0.75, 0.85])
def test_the_released_variant_does_not_borrow_the_laws_of_the_paper_s(kappa):
    with pytest.raises(ValueError, match="no rule gives a learning rate for adana-released"):
        rate("adana-released", EnokiConfig(heads=6), kappa=kappa)


def test_an_optimizer_without_kappa_takes_its_law_whatever_kappa_is():
    model = EnokiConfig(heads=6)
    assert rate("adamw", model, kappa=0.1) == rate("adamw", model, kappa=0.85)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match=r"unknown optimizer .lion."):
        rate("lion", EnokiConfig(heads=6))


# --- rates tuned at the demo's rung ---------------------------------------------------------------


@pytest.fixture
def tuned(monkeypatch):
    monkeypatch.setitem(module.DEMO_RATES, "adana", 0.123)
    monkeypatch.setitem(module.DEMO_RATES, "adamw", 0.456)


@pytest.mark.usefixtures("tuned")
def test_the_demo_takes_its_tuned_rate_and_says_so():
    result = rate("adana", DEMO_MODEL, DEMO_BATCH)
    assert result.lr == 0.123
    assert "tuned by a sweep of the demo" in result.source
    assert rate("adamw", DEMO_MODEL, DEMO_BATCH, kappa=0.1).lr == 0.456


@pytest.mark.usefixtures("tuned")
@pytest.mark.parametrize(
    ("changes", "batch", "kappa", "omega"),
    [
        ({"heads": 4}, DEMO_BATCH, 0.85, 4.0),
        ({"layers": 3}, DEMO_BATCH, 0.85, 4.0),
        ({"vocab_size": 2048}, DEMO_BATCH, 0.85, 4.0),
        ({"sequence_length": 256}, DEMO_BATCH, 0.85, 4.0),
        ({"qk_norm": False}, DEMO_BATCH, 0.85, 4.0),
        ({}, 2 * DEMO_BATCH, 0.85, 4.0),
        ({}, DEMO_BATCH, 0.75, 4.0),
        ({}, DEMO_BATCH, 0.85, 2.0),
    ],
)
def test_any_other_setting_than_the_demo_s_does_not_get_its_rate(changes, batch, kappa, omega):
    model = EnokiConfig(**{**vars(DEMO_MODEL), **changes})
    result = rate("adana", model, batch, kappa=kappa, omega=omega)
    assert result.lr != 0.123
    assert "extrapolated" in result.source


def test_settings_that_differ_from_the_tuned_ones_are_named(tuned):
    others = {"steps": (5000, 1200), "clip": (0.5, 0.5)}
    source = rate("adana", DEMO_MODEL, DEMO_BATCH, others=others).source
    assert "this run has steps 5000, not 1200: check it" in source
    assert "clip" not in source
