"""The schedules agree with their closed forms and with the numbers of the specification."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adana import schedules as s


def test_log_time_average_has_the_closed_form_weights_of_the_specification():
    weights = [s.ema_total_weight(t) for t in range(1, 6)]
    assert weights == pytest.approx([0.8889, 0.9778, 0.9939, 0.9980, 0.9992], abs=5e-5)
    product = 1.0
    for t in range(1, 200):
        product *= 1 - s.ema_weight(t)
        assert s.ema_total_weight(t) == pytest.approx(1 - product, rel=1e-12)


@given(st.integers(2, 10_000), st.floats(0.5, 32))
def test_mean_age_of_a_log_time_average_is_a_fixed_fraction_of_training(t, delta):
    """The unbiased average (weight 1 at index 0) has age (t + 1 - 1)/(delta + 1) exactly."""
    age = 0.0
    for k in range(t):
        age = (1 - s.ema_weight(k, delta)) * (age + 1)
    assert age == pytest.approx(s.mean_age(t - 1, delta), rel=1e-9)


def age_of_an_average(weights):
    """Mean age of what an average from zero holds, given the weight of each step's newest part."""
    age = held = 0.0
    for weight in weights:
        age, held = (1 - weight) * (age + held), (1 - weight) * held + weight
    return age / held


@pytest.mark.parametrize("t", [1, 2, 10, 300])
def test_mean_ages_are_those_of_the_averages(t):
    steps = range(1, t + 1)
    assert age_of_an_average(s.ema_weight(k) for k in steps) == pytest.approx(
        s.mean_age(t), abs=0.12
    )
    for beta in (0.5, 0.9, 0.999):
        age = age_of_an_average(1 - beta for _ in steps)
        assert s.constant_mean_age(t, beta) == pytest.approx(age, rel=1e-9, abs=1e-9)
    assert s.constant_mean_age(100_000, 0.999) == pytest.approx(999)


@pytest.mark.parametrize(("t", "expected"), [(1, 1.10957), (10, 1.43287), (1000, 2.81880)])
def test_damping_values(t, expected):
    assert s.damping(t, 0.85) == pytest.approx(expected, abs=1e-5)
    assert s.damping(t, 1.0) == 1.0
    assert s.damping(t, 0.0) == 1 + t


def test_cosine_is_the_references_closed_form():
    total, warmup = 100, 2
    for k in range(total):
        if k < warmup:
            expected = k / warmup + (1 - k / warmup) / 100
        else:
            expected = 0.1 + 0.45 * (1 + math.cos(math.pi * (k - warmup) / (total - warmup)))
        assert s.warmup_cosine(k + 1, total, warmup) == pytest.approx(expected, abs=1e-15)
    assert s.warmup_cosine(1, total, warmup) == 0.01
    assert s.warmup_cosine(3, total, warmup) == 1.0
    assert s.warmup_cosine(10_000, total, warmup) == pytest.approx(0.1)


def test_linear_and_warmup_stable_decay_shapes():
    assert s.warmup_linear(11, 110, 10) == 1.0
    assert s.warmup_linear(61, 110, 10) == pytest.approx(0.5)
    assert s.warmup_linear(111, 110, 10) == 0.0
    assert s.warmup_stable_decay(50, 100, 10) == 1.0
    assert s.warmup_stable_decay(81, 100, 10) == 1.0
    assert s.warmup_stable_decay(86, 100, 10) == pytest.approx(1 - math.sqrt(0.25))
    assert s.warmup_stable_decay(101, 100, 10, final=0.1) == pytest.approx(0.1)
    assert s.warmup_stable_decay(96, 100, 10, cooldown_steps=5) == 1.0


GAMMAS = [s.warmup_cosine, s.warmup_linear, s.warmup_stable_decay]


@given(st.sampled_from(GAMMAS), st.integers(1, 500), st.data())
def test_multipliers_stay_between_zero_and_one_for_any_horizon(gamma, total, data):
    warmup = data.draw(st.integers(0, total))
    t = data.draw(st.integers(0, total + 10))
    assert 0.0 <= gamma(t, total, warmup) <= 1.0


@pytest.mark.parametrize("warmup", [0, 1, 20, 1000])
def test_before_the_first_step_multipliers_are_zero(warmup):
    for gamma in GAMMAS:
        assert gamma(0, 2000, warmup) == 0.0
        assert float(gamma(torch.tensor(0), 2000, warmup)) == 0.0
        assert gamma(1, 2000, warmup) == (s.WARMUP_START if warmup else 1.0)
    assert s.warmup_constant(0, warmup) == 0.0


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("t", [0, 1, 5, 10, 11, 60, 95, 100, 120])
def test_one_definition_serves_floats_tensors_and_arrays(gamma, t):
    expected = gamma(t, 100, 10)
    for x in (torch.tensor(float(t), dtype=torch.float64), np.asarray(float(t))):
        assert float(gamma(x, 100, 10)) == pytest.approx(expected, abs=1e-15)
        assert float(s.ema_weight(x)) == pytest.approx(s.ema_weight(t))
        assert float(s.damping(x)) == pytest.approx(s.damping(t))
        assert float(s.log_time_decay(x, 4.0, 10.0)) == pytest.approx(4 / (10 + t))


def test_total_decay_matches_the_specification():
    steps = 10_000
    warmup = s.default_warmup_steps(steps)

    def gamma(t):
        return s.warmup_cosine(t, steps, warmup)

    constant = s.total_decay(lambda t: s.constant_decay(4.0, steps), gamma, steps)
    log_time = s.total_decay(lambda t: s.log_time_decay(t, 4.0, steps / 10), gamma, steps)
    assert constant == pytest.approx(2.20, abs=0.01)
    assert log_time == pytest.approx(6.84, abs=0.01)


@given(st.floats(0.01, 100), st.floats(1e-6, 1), st.integers(10, 10**6))
def test_weight_decay_conversions_are_inverse_to_each_other(omega, lr, steps):
    weight_decay = s.omega_to_weight_decay(omega, lr, steps)
    assert s.weight_decay_to_omega(weight_decay, lr, steps) == pytest.approx(omega)
    tau = s.timescale_steps(lr, weight_decay)
    assert tau == pytest.approx(steps / omega)
    assert s.timescale_to_weight_decay(tau, lr) == pytest.approx(weight_decay)
    assert s.timescale_epochs(lr, weight_decay, steps) == pytest.approx(1 / omega)


def test_timescales_at_the_edges():
    assert s.timescale_steps(1e-3, 0.0) == math.inf
    assert s.log_time_timescale(900, 4.0, 100.0) == 250.0
    assert s.default_warmup_steps(49) == 0
    assert s.default_warmup_steps(2000) == 40


def test_ademamix_schedules_have_the_values_of_the_specification():
    steps, delta, kappa = 50_000, 8.0, 0.85
    final = 1 - delta / steps
    expected = {1: 0.099, 10: 0.889, 100: 4.45, 5_000: 7.886, 25_000: 7.987, steps: 8.0}
    for t, value in expected.items():
        weight = 1 - s.ademamix_beta(t, 0.9, final, steps)
        assert weight * t == pytest.approx(value, abs=6e-4 if value < 1 else 6e-3)
    alphas = {1: 1e-4, 10: 1e-3, 100: 1e-2, 5_000: 0.507, 25_000: 2.534, steps: 5.068}
    for t, value in alphas.items():
        assert s.ademamix_alpha(t, steps ** (1 - kappa), steps) == pytest.approx(value, rel=2e-2)
    assert s.ademamix_beta(2 * steps, 0.9, final, steps) == pytest.approx(final, abs=1e-15)
    assert s.ademamix_beta(1, 0.0, final, steps) == pytest.approx(math.exp(math.log(final) * steps))


@given(st.integers(1, 2000), st.floats(0.0, 0.99), st.floats(1e-7, 0.5), st.integers(1, 1000))
def test_weight_of_ademamix_is_one_minus_its_beta(t, start, final_weight, warmup):
    weight = s.ademamix_weight(t, start, final_weight, warmup)
    assert weight == pytest.approx(
        1 - s.ademamix_beta(t, start, 1 - final_weight, warmup), abs=1e-9
    )


@given(st.integers(1, 5000), st.floats(0.0, 0.9999))
def test_total_weight_of_a_constant_average_is_adams_bias_correction(t, beta):
    assert s.constant_total_weight(t, beta) == pytest.approx(1 - beta**t, abs=1e-12)


def test_weights_keep_their_digits_in_float32():
    t = torch.tensor(2.0, dtype=torch.float32)
    assert float(s.constant_total_weight(t, 0.9999)) == pytest.approx(1 - 0.9999**2, rel=1e-6)
    weight = s.ademamix_weight(t * 10**6, 0.9, 8e-6, 10**6)
    assert float(weight) == pytest.approx(8e-6, rel=1e-6)


@pytest.mark.parametrize(("omega", "total", "expected"), [(4.0, 1000, 100.0), (4.0, 20, 4.0)])
def test_decay_offset_of_tensors_is_that_of_floats(omega, total, expected):
    for number in (float, torch.tensor, np.asarray):
        assert float(s.default_decay_offset(number(omega), number(total))) == expected
        assert float(s.default_decay_offset(omega, number(total))) == expected
        assert float(s.default_decay_offset(number(omega), None)) == 100 * omega


def test_undamped_multipliers_differ_by_the_constant_of_the_buffer():
    assert s.undamped(10, 8.0) == 18.0
    assert s.nesterov(10, 8.0) == 18.0 / 8.0
    assert s.effective_damping(9.0, 0.5, 0.0) == 3.0
    assert s.effective_damping(8.0, 0.5, 1.0) == 3.0


def test_momentum_cooldown_is_a_line_at_the_end_of_training():
    factors = [s.momentum_cooldown(t, 100, 20) for t in (1, 80, 90, 100, 110)]
    assert factors == pytest.approx([1, 1, 0.5, 0, 0])
    assert s.momentum_cooldown(100, 100, 20, final=0.3) == pytest.approx(0.3)
    assert s.momentum_cooldown(100, 100, 0) == 1.0


@pytest.mark.parametrize(
    ("kappa", "clip"), [(0.5, 2.0), (0.75, 2.0), (0.80, 0.70711), (0.85, 0.25), (1.0, 0.25)]
)
def test_clip_defaults_depend_on_kappa(kappa, clip):
    assert s.default_clip_snr(kappa) == pytest.approx(clip, rel=1e-5)


@pytest.mark.parametrize(("beta", "step"), [(0.95, 152), (0.999, 7992)])
def test_matching_step_has_the_memory_of_a_constant_beta(beta, step):
    assert s.matching_step(beta) == pytest.approx(step)
    assert 1 - s.ema_weight(s.matching_step(beta)) == pytest.approx(beta)
