import pytest

from adana.ladder import LAWS, NoLawError, find_law, peak_learning_rate, planned_learning_rate
from adana.ladder import plan_rung as rung_of
from adana.nn import EnokiConfig, LSTMConfig, Qwen3Config
from adana.train import OPTIMIZERS

# spec/training.md section 3.1, below the table: batch 512, and Qwen3.
OTHERS = {
    ("enoki", "adamw", None, 512): (16.7, 1.58e7, -0.464),
    ("enoki", "adana", 0.85, 512): (85.3, 3.04e4, -0.654),
    ("enoki", "dana-mk4", 0.85, 512): (2.47e3, 2.24e7, -0.826),
    ("enoki", "dana-star-mk4", 0.85, 512): (310, 1.40e4, -0.701),
    ("qwen3", "adamw", None, 32): (2.16e4, 7.20e4, -0.873),
    ("qwen3", "adana-released", 0.85, 32): (3.17, 3.99e4, -0.553),
    ("qwen3", "dana-mk4", 0.85, 32): (1.20, 3.44e4, -0.501),
    ("qwen3", "dana-star-mk4", 0.85, 32): (93.9, 1.71e4, -0.701),
}


def key(law):
    return (law.family, law.optimizer, law.kappa, law.batch)


def test_every_combination_has_at_most_one_law_and_an_optimizer_of_that_name():
    assert len({key(law) for law in LAWS}) == len(LAWS) == 20
    for law in LAWS:
        reads_kappa = "kappa" in OPTIMIZERS[law.optimizer].reads
        assert (law.kappa is not None) == reads_kappa
        assert law.omega == 4
        assert law.algorithm


@pytest.mark.parametrize(("combination", "numbers"), OTHERS.items())
def test_the_laws_of_the_large_batch_and_of_qwen3_are_the_published_ones(combination, numbers):
    family, optimizer, kappa, batch = combination
    law = find_law(family, optimizer, kappa, batch * 2048)
    assert (law.a, law.b, law.d) == numbers
    assert {k for k in map(key, LAWS) if k[0] == "qwen3" or k[3] == 512} == set(OTHERS)


def test_a_law_is_a_times_b_plus_p_to_the_d():
    law = find_law("enoki", "adana", 0.85, 65_536)
    assert law(7_077_888) == pytest.approx(22.5 * (1.22e5 + 7_077_888) ** -0.618)


def test_only_the_swept_range_that_a_source_states_is_known():
    assert find_law("enoki", "adamw", None, 65_536).fitted == (7_077_888, 509_607_936)
    assert rung_of("enoki", 6).counts.non_embedding == 7_077_888
    assert rung_of("enoki", 24).counts.non_embedding == 509_607_936
    assert find_law("qwen3", "adamw", None, 65_536).fitted is None
    assert find_law("enoki", "adamw", None, 512 * 2048).fitted is None


@pytest.mark.parametrize("tokens", [64 * 2048, 128 * 2048, 65_535])
def test_no_batch_gets_the_law_of_its_neighbour(tokens):
    with pytest.raises(NoLawError, match=r"laws are for 32 x 2048 and 512 x 2048") as caught:
        find_law("enoki", "adana", 0.85, tokens)
    assert caught.value.batches == [32, 512]


@pytest.mark.parametrize(
    ("family", "optimizer", "kappa"),
    [
        ("enoki", "adana", 0.8500001),
        ("enoki", "adana-released", 0.85),
        ("enoki", "dana-star", 0.85),
        ("enoki", "dana-mk4", 0.80),
        ("qwen3", "adana-released", 0.75),
        ("qwen3", "ademamix", 0.85),
        ("lstm", "adamw", None),
    ],
)
def test_an_unpublished_combination_is_refused_with_what_there_is(family, optimizer, kappa):
    with pytest.raises(NoLawError, match=rf"for {optimizer}.* in {family}.*ublished") as caught:
        find_law(family, optimizer, kappa, 65_536)
    assert caught.value.batches == []


def test_the_qwen3_law_published_as_adana_is_that_of_the_released_variant():
    with pytest.raises(NoLawError, match="belongs to adana-released"):
        find_law("qwen3", "adana", 0.85, 65_536)
    assert "clip off" in find_law("qwen3", "adana-released", 0.85, 65_536).algorithm
    assert "c = 0" in find_law("enoki", "adana", 0.85, 65_536).algorithm


# --- a plan takes only what was fitted ------------------------------------------------------------


def test_a_plan_takes_the_law_of_its_batch():
    model = EnokiConfig(heads=12)
    small = planned_learning_rate("adana", model, 32)
    large = planned_learning_rate("adana", model, 512)
    assert small.lr == pytest.approx(3.38e-4, rel=1e-3)
    assert large.lr == pytest.approx(85.3 * (3.04e4 + 63_700_992) ** -0.654)
    assert not small.reservations
    assert not large.reservations


def test_a_plan_at_another_batch_needs_to_be_told_which_law():
    model = EnokiConfig(heads=12)
    with pytest.raises(NoLawError, match="131,072 tokens a step"):
        planned_learning_rate("adana", model, 64)
    told = planned_learning_rate("adana", model, 64, law_batch=512)
    assert told.lr == planned_learning_rate("adana", model, 512).lr
    assert told.reservations == ("fitted at 1048576 tokens a step, this run has 131072",)


def test_the_batch_is_counted_in_tokens():
    model = EnokiConfig(heads=12, sequence_length=1024)
    assert planned_learning_rate("adana", model, 64).law.batch == 32


def test_naming_the_batch_of_a_law_that_does_not_exist_is_refused():
    with pytest.raises(NoLawError, match="for 32 x 2048, and"):
        planned_learning_rate("adana", EnokiConfig(heads=12), 64, kappa=0.9, law_batch=512)


def test_beyond_what_was_swept_a_plan_says_so():
    assert planned_learning_rate("adamw", EnokiConfig(heads=24), 32).reservations == ()
    (only,) = planned_learning_rate("adamw", EnokiConfig(heads=26), 32).reservations
    assert only == "extrapolated from P of 7.1 to 510 M to 631 M"


@pytest.mark.parametrize(
    ("tokens_per_param", "changes", "words"),
    [
        (5000, {}, "fitted at 20 tokens a parameter, this run has 5000"),
        (1, {}, "fitted at 20 tokens a parameter, this run has 1"),
        (20, {"vocab_size": 1024}, "fitted at a vocabulary of 50304, this run has 1024"),
        (20, {"sequence_length": 4096}, "fitted at sequences of 2048, this run has 4096"),
    ],
)
def test_a_plan_says_what_else_its_law_was_not_fitted_to(tokens_per_param, changes, words):
    model = EnokiConfig(heads=12, **changes)
    batch = 32 * 2048 // model.sequence_length
    rate = planned_learning_rate("adana", model, batch, tokens_per_param=tokens_per_param)
    assert rate.reservations == (words,)


def test_a_training_says_in_what_it_differs_from_the_published_runs():
    model = EnokiConfig(heads=6)
    others = {"schedule": ("constant", "cosine"), "clip": (0.5, 0.5), "data": ("a", "b")}
    rate = peak_learning_rate("adamw", model, 32, steps=13_950, others=others)
    assert rate.reservations == ("fitted at schedule cosine, this run has constant",)
    (only,) = peak_learning_rate("adamw", model, 32, steps=1000).reservations
    assert only == "fitted at 20 tokens a parameter, this run has 1.434"


# --- a training may go further, and says so -------------------------------------------------------


def test_a_training_takes_the_law_of_the_large_batch_there():
    rate = peak_learning_rate("adana", EnokiConfig(heads=12), 512)
    assert rate.law.batch == 512
    assert "tokens a step" not in rate.source
    assert peak_learning_rate("adana", EnokiConfig(heads=12), 256).law.batch == 32


def test_a_training_of_qwen3_takes_its_own_law():
    model = Qwen3Config(heads=8)
    rate = peak_learning_rate("adamw", model, 32)
    assert rate.lr == pytest.approx(2.16e4 * (7.2e4 + 234_918_912) ** -0.873)
    assert rate.source == "published Qwen3 law a (b + P)^d (arXiv 2602.05298)"
    with pytest.raises(ValueError, match="belongs to adana-released"):
        peak_learning_rate("adana", model, 32)


def test_other_initial_weights_than_the_published_ones_are_said():
    rate = peak_learning_rate("adamw", EnokiConfig(heads=6, init="standard"), 32)
    assert "fitted with initial weights scaled-gpt, this run has standard" in rate.source


def test_an_lstm_has_no_law():
    with pytest.raises(ValueError, match=r"None is published for lstm at all"):
        peak_learning_rate("adamw", LSTMConfig(), 32)
