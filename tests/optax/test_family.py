"""What every optimizer of the port promises, whatever its schedules."""

import functools
import inspect
import math
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch

from adana import ADana, schedules

from .common import CONFIGURATIONS, ao, close, gradients, jax, jnp, optax, run, warmup_cosine, x64

PARAMS = {"w": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), "b": jnp.ones(5), "s": jnp.float32(0.5)}


@pytest.fixture(params=list(CONFIGURATIONS))
def make(request):
    """A function from the learning rate to an optimizer; runs once per configuration."""
    return CONFIGURATIONS[request.param]


# --- the updates in closed form -------------------------------------------------------------------

# With a constant gradient g and averages that are unbiased, m = short = g and v = g^2, so that the
# update is sign(g) times what multiplies each term.
A = [(1 + k) ** 0.15 for k in range(20)]
STAR = [(1 + max((1 + k) / 2, 1)) ** 0.15 for k in range(20)]
CONSTANT_GRADIENT = {
    "adana": (ao.scale_by_adana(first_step=0), [1 + a for a in A]),
    "kappa 1": (ao.scale_by_adana(1.0, first_step=0), [2.0] * 20),
    "scale": (
        ao.scale_by_adana(first_step=0, momentum_scale=0.5, extra_momentum=1.0),
        [1 + 0.5 * (a + 1) for a in A],
    ),
    "constant": (ao.scale_by_adana(momentum="constant", first_step=0), [2.0] * 20),
    "undamped": (
        ao.scale_by_adana(momentum="undamped", first_step=0),
        [9.0 + k for k in range(20)],
    ),
    "nesterov": (
        ao.scale_by_adana(momentum="nesterov", delta=4.0, first_step=0),
        [2 + k / 4 for k in range(20)],
    ),
    "no gradient": (ao.scale_by_adana(gradient="none", first_step=0), A),
    "short average": (
        ao.scale_by_adana(gradient="average", average_beta=0.8, first_step=0),
        [1 - 0.8 ** (1 + k) + a for k, a in enumerate(A)],
    ),
    "fast average": (
        ao.scale_by_log_ademamix(),
        [1 + (2 + k) ** 0.15 * schedules.ema_total_weight(1 + k) for k in range(20)],
    ),
    "beta2 uncorrected": (
        ao.scale_by_adana(beta2=0.999, correction=False, first_step=0),
        [(1 + a) / math.sqrt(1 - 0.999 ** (1 + k)) for k, a in enumerate(A)],
    ),
    "cooldown": (
        ao.scale_by_adana(momentum_scale=lambda t: 1 / t, first_step=0),
        [1 + a / (1 + k) for k, a in enumerate(A)],
    ),
    "constant beta2": (ao.scale_by_adana(beta2=0.999, first_step=0), [1 + a for a in A]),
    "clip": (
        ao.scale_by_adana(0.0, clip_snr=3.0, extra_momentum=1.0, first_step=0),
        [2 + min(1 + k, 3) for k in range(20)],
    ),
    "star": (ao.scale_by_dana_star(first_step=0), [1 + a for a in STAR]),
    "star released": (
        ao.scale_by_dana_star(0.0, extra_momentum=1.0, time_shift=0.0, first_step=0),
        [2 + max((1 + k) / 2, 1) for k in range(20)],
    ),
    "star clip": (
        ao.scale_by_dana_star(0.0, time_shift=0.0, clip_snr=4.0, first_step=0),
        [1 + min(max((1 + k) / 2, 1), 4) for k in range(20)],
    ),
    "star gradient clip": (
        ao.scale_by_dana_star(1.0, grad_clip_snr=0.25, first_step=0),
        [1.25] * 20,
    ),
    "constant betas": (ao.scale_by_constant_betas(), [1.0] * 20),
    "no second moment": (
        ao.scale_by_dana(0.0, average=True),
        [3 * (1 + (1 + k) / 2) for k in range(20)],
    ),
}


@pytest.mark.parametrize("case", CONSTANT_GRADIENT)
def test_a_constant_gradient_gives_the_multipliers_themselves(case):
    block, expected = CONSTANT_GRADIENT[case]
    with x64():
        g = jnp.asarray(3.0, jnp.float64)
        state = block.init(g)
        for multiplier in expected:
            u, state = block.update(g, state)
            assert float(u) == pytest.approx(multiplier, rel=3e-7)


@pytest.mark.parametrize(
    ("arguments", "forget", "enters", "grown"),
    [
        ({"kappa": 0.5}, "log-time", 1.0, lambda t: 0.1 * (1 + t) ** -0.5),
        ({"kappa": 0.5, "average": True}, "log-time", None, lambda t: 0.1 * (1 + t) ** 0.5),
        ({"dimension": 3}, "log-time", 1.0, lambda t: 0.1 / 3),
        ({"forget": 0.2}, 0.2, 1.0, lambda t: 0.1),
    ],
    ids=["decaying", "average", "constant", "sgd-m"],
)
def test_dana_is_the_recursion_of_the_theory(arguments, forget, enters, grown):
    """Spec/plrf.md section 2, where the index starts from 0."""
    random = np.random.default_rng(0)
    spectrum, theta, y = np.array([1.0, 0.3, 0.05]), np.ones(3), np.zeros(3)
    with x64():
        p = jnp.asarray(theta)
        optimizer = ao.dana(0.2, delta=4.0, momentum_scale=0.1, **arguments)
        state = optimizer.init(p)
        for t in range(50):
            noise = random.normal(size=3)
            g = spectrum * (theta - noise)
            interval = 4.0 / (4.0 + t) if forget == "log-time" else forget
            y = (1 - interval) * y + (interval if enters is None else enters) * g
            theta = theta - 0.2 * g - 0.2 * grown(t) * y
            updates, state = optimizer.update(jnp.asarray(spectrum) * (p - noise), state, p)
            p = optax.apply_updates(p, updates)
            np.testing.assert_allclose(p, theta, rtol=1e-12)


@pytest.mark.parametrize("clips", [{}, {"clip_snr": 0.3}, {"grad_clip_snr": 1.2}])
@pytest.mark.parametrize("first_step", [0, 1])
def test_star_follows_the_formula_written_out(clips, first_step):
    """Spec/optimizers.md sections 3 to 5, at activities above 1/2 and below 1/(1 + t)."""
    random = np.random.default_rng(0)
    eps, kappa, c, scale, shift = 0.1, 0.6, 0.7, 0.5, 0.4
    block = ao.scale_by_dana_star(
        kappa, eps=eps, momentum_scale=scale, extra_momentum=c, time_shift=shift,
        first_step=first_step, **clips,
    )  # fmt: skip
    m, v, tau = np.zeros(3), np.zeros(3), np.zeros(3)
    seen = []
    with x64():
        state = block.init(jnp.zeros(3))
        for t in range(1, 60):
            growing, dense = 1.3 ** (t % 20), random.normal()
            g = np.array([growing, dense, float(t == 30)])
            k = t - 1 + first_step
            a = 8 / (8 + k)
            m, v = (1 - a) * m + a * g, (1 - a) * v + a * g**2
            d = np.sqrt(v) + eps
            tau = (1 - a) * tau + a * np.abs(g) / (np.abs(g) + d)
            r = np.maximum(np.minimum(tau, 0.5) / (1 - np.minimum(tau, 0.5)), 1 / (1 + t))
            n, q = np.sqrt(r) / d, np.maximum(tau * t, 1)
            snr = np.abs(m) * n / r
            f = np.minimum((shift + q) ** (1 - kappa) * snr, clips.get("clip_snr", np.inf))
            bound = clips.get("grad_clip_snr", 1e9) * np.sqrt(v) / (np.sqrt(r) * np.abs(g) + eps)
            expected = n * g * np.minimum(1, bound)
            expected += scale * np.sign(m) * (r * f + c * np.abs(m) * n)
            u, state = block.update(jnp.asarray(g), state)
            np.testing.assert_allclose(u, expected, rtol=1e-10, atol=1e-14)
            seen.append((tau.max() > 0.5, tau[2] < 1 / (1 + t)))
    assert np.any(seen, axis=0).all(), "the sequence misses a case"


def test_log_ademamix_is_ademamix_with_the_schedules_of_adana():
    random = np.random.default_rng(0)
    m1 = m2 = v = 0.0
    block = ao.log_ademamix(1.0, omega=0.0, total_steps=10)
    with x64():
        p = jnp.zeros((), jnp.float64)
        state = block.init(p)
        for t in range(1, 40):
            g = random.normal()
            m1 = 0.9 * m1 + 0.1 * g
            m2 = m2 + 8 / (8 + t) * (g - m2)
            v = 0.999 * v + 0.001 * g * g
            fast, root = m1 / (1 - 0.9**t), math.sqrt(v / (1 - 0.999**t))
            u, state = block.update(jnp.asarray(g), state, p)
            expected = -(fast + (1 + t) ** 0.15 * m2) / (root + 1e-8)
            assert float(u) == pytest.approx(expected, rel=1e-12)


def test_constant_betas_are_optax_adam():
    with x64():
        params = jax.tree.map(lambda p: p.astype(jnp.float64), PARAMS)
        grads = gradients(params, 30)
        ours = run(ao.log_adamw(0.01, omega=0.0, total_steps=100), params, grads)
        assert close(ours, run(optax.adam(0.01), params, grads), 1e-12)


def test_rescaled_gradients_leave_the_update_unchanged(make):
    with x64():
        params = jax.tree.map(lambda p: p.astype(jnp.float64), PARAMS)
        grads = gradients(params, 20)
        both = jax.vmap(lambda c: run(make(0.01, eps=0.0), params, scaled(grads, c)))(
            jnp.asarray([1.0, 1e4])
        )
        # LogMuon adds 1e-7 to the norm of a matrix, which is about 4 here, 5 iterations long.
        tolerance = 1e-6 if make is CONFIGURATIONS["log-muon"] else 1e-12
        assert close(*(jax.tree.map(lambda p, i=i: p[i], both) for i in (0, 1)), tolerance)


def scaled(tree, factor):
    return jax.tree.map(lambda x: factor * x, tree)


# --- weight decay ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["before", "after"])
def test_decay_order(order):
    """Zero momentum and beta leave sign(g) as the update, so both orders can be written out."""
    p, g, lr, offset = 2.0, 3.0, 0.1, 9.0
    optimizer = ao.adana(
        lr, momentum_scale=0.0, beta2=0.0, eps=0.0, omega=4.0, decay_offset=offset,
        decay_order=order,
    )  # fmt: skip
    state = optimizer.init(jnp.asarray(p))
    updates, _ = optimizer.update(jnp.asarray(g), state, jnp.asarray(p))
    decay = 4.0 / (offset + 1)
    expected = p * (1 - decay) - lr if order == "before" else (p - lr) * (1 - decay)
    assert p + float(updates) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["adana", "adana-released", "ademamix"])
def test_decay_follows_the_multiplier_and_not_the_peak(name):
    make = CONFIGURATIONS[name]
    zero = jax.tree.map(lambda p: jnp.zeros((10, *p.shape)), PARAMS)
    low, high = (
        run(make(warmup_cosine(peak, 10, 2), peak_lr=peak), PARAMS, zero) for peak in (1e-4, 1e-1)
    )
    assert close(low, high, 1e-6)
    tenth = run(make(1e-4, peak_lr=1e-3), PARAMS, zero)
    whole = run(make(1e-3), PARAMS, zero)
    lost = [1 - float(p["b"][0, 0]) for p in (tenth, whole)]
    assert lost[1] > 0.001
    assert lost[0] / lost[1] == pytest.approx(0.1, rel=1e-3)


def test_decay_works_behind_an_optimizer_of_optax():
    optimizer = optax.chain(
        optax.sgd(0.1),
        ao.add_log_time_decay(2.0, total_steps=200, gamma=lambda count: 1 / (1 + count)),
    )
    p = jnp.asarray(1.0)
    state = optimizer.init(p)
    for t in (1, 2, 3):
        updates, state = optimizer.update(jnp.asarray(1.0), state, p)
        expected = -0.1 - 1 / t * 2 / (20 + t) * float(p)
        assert float(updates) == pytest.approx(expected, rel=1e-5)
        p = optax.apply_updates(p, updates)


def test_decay_without_parameters_is_refused(make):
    optimizer = make(0.01)
    with pytest.raises(ValueError, match="parameters"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))


@pytest.mark.parametrize(
    "mask",
    [{"w": True, "b": False, "s": False}, ao.decay_mask],
    ids=["tree", "function"],
)
def test_masked_parameters_are_not_decayed(make, mask):
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    optimizer = make(0.01, mask=mask)
    updates, _ = optimizer.update(zero, optimizer.init(PARAMS), PARAMS)
    assert jnp.all(updates["b"] == 0)
    assert updates["s"] == 0
    assert jnp.all((updates["w"] != 0) == (PARAMS["w"] != 0))


def test_a_mask_that_was_taken_for_a_schedule_is_told():
    make = optax.inject_hyperparams(ao.adana)
    with pytest.raises(ValueError, match=r"static_args=\('mask',\)"):
        make(0.01, peak_lr=0.01, total_steps=100, mask=ao.decay_mask).init(PARAMS)
    make = optax.inject_hyperparams(ao.adana, static_args=("mask",))
    make(0.01, peak_lr=0.01, total_steps=100, mask=ao.decay_mask).init(PARAMS)


class Boxed(NamedTuple):
    value: object


def test_the_usual_mask_decays_matrices_but_no_embeddings_norms_or_biases():
    matrix, stacked, vector = jnp.ones((4, 4)), jnp.ones((2, 4)), jnp.ones(4)
    params = {
        "Embed_0": {"embedding": matrix},
        "wte": {"weight": matrix},
        "layers": [
            {"Dense_0": {"kernel": matrix, "bias": vector}},
            {"conv": jnp.ones((3, 3, 4, 4)), "LayerNorm_0": {"scale": stacked, "bias": stacked}},
        ],
        "member": {"upscale": matrix},
        "boxed": Boxed({"bias": Boxed(stacked), "kernel": Boxed(matrix)}),
        "head": {"kernel": matrix, "bias": stacked},
    }
    expected = {
        "Embed_0": {"embedding": False},
        "wte": {"weight": False},
        "layers": [
            {"Dense_0": {"kernel": True, "bias": False}},
            {"conv": True, "LayerNorm_0": {"scale": False, "bias": False}},
        ],
        "member": {"upscale": True},
        "boxed": Boxed({"bias": Boxed(False), "kernel": Boxed(True)}),
        "head": {"kernel": True, "bias": False},
    }
    assert ao.decay_mask(params) == expected
    assert ao.decay_mask({"token": jnp.ones((1, 1, 8)), "up": jnp.ones((3, 1, 8))}) == {
        "token": False,
        "up": True,
    }
    with_embeddings = ao.decay_mask(params, decay_embeddings=True, no_decay="^head/")
    assert with_embeddings["Embed_0"]["embedding"]
    assert with_embeddings["wte"]["weight"]
    assert not with_embeddings["head"]["kernel"]
    with pytest.raises(ValueError, match="haed"):
        ao.decay_mask(params, no_decay=["head", "haed"])


def test_a_pattern_may_match_the_parameters_of_another_member():
    """Each member of `multi_transform` gets a tree in which the others' are masked."""
    spared = functools.partial(ao.decay_mask, no_decay="^head$")
    hidden = functools.partial(ao.muon_mask, exclude="^head$")
    together = optax.multi_transform(
        {
            "matrices": ao.log_muon(0.01, total_steps=1000, muon=hidden, mask=spared),
            "others": ao.adana(0.01, total_steps=1000, mask=spared),
        },
        {"w": "matrices", "head": "others"},
    )
    params = {"w": jnp.ones((3, 4)), "head": jnp.ones((3, 4))}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = together.update(zero, together.init(params), params)
    assert jnp.all(updates["w"] < 0)
    assert jnp.all(updates["head"] == 0)


# --- under JAX's transformations ------------------------------------------------------------------


def test_jit_compiles_once_and_agrees_with_eager(make):
    optimizer, grads = make(0.01), gradients(PARAMS, 2)
    step = jax.jit(optimizer.update)
    params, state = PARAMS, optimizer.init(PARAMS)
    for k in range(2):
        g = jax.tree.map(lambda x, k=k: x[k], grads)
        eager, _ = optimizer.update(g, state, params)
        updates, state = step(g, state, params)
        assert close(updates, eager, 1e-5)
        params = optax.apply_updates(params, updates)
    assert step._cache_size() == 1


def test_scan_is_a_python_loop(make):
    optimizer, grads = make(0.01), gradients(PARAMS, 5)
    scanned, step = run(optimizer, PARAMS, grads), jax.jit(optimizer.update)
    params, state = PARAMS, optimizer.init(PARAMS)
    for k in range(5):
        updates, state = step(jax.tree.map(lambda x, k=k: x[k], grads), state, params)
        params = optax.apply_updates(params, updates)
    assert close(jax.tree.map(lambda p: p[-1], scanned), params, 1e-5)


def test_vmap_over_learning_rates_is_one_run_each(make):
    grads, rates = gradients(PARAMS, 5), jnp.asarray([1e-3, 1e-2, 0.0])
    together = jax.vmap(lambda lr: run(make(lr, peak_lr=1e-2), PARAMS, grads))(rates)
    alone = run(make(1e-3, peak_lr=1e-2), PARAMS, grads)
    assert close(jax.tree.map(lambda p: p[0], together), alone, 1e-5)
    assert not close(jax.tree.map(lambda p: p[1], together), alone, 1e-3)
    assert jnp.all(together["w"][2] == PARAMS["w"])


def test_vmap_over_every_number_of_adana():
    grads = gradients(PARAMS, 5)
    names = ("learning_rate", "kappa", "delta", "omega", "total_steps", "eps", "momentum_scale")
    names += ("average_beta", "beta2", "extra_momentum", "peak_lr", "momentum_cooldown")
    first = (0.01, 0.8, 4.0, 1.0, 50.0, 1e-8, 0.5, 0.8, 0.99, 0.5, 0.02, 0.98)
    second = (0.02, 0.9, 9.0, 4.0, 99.0, 1e-6, 1.0, 0.9, 0.999, 1.0, 0.02, 0.0)

    def train(*values):
        return run(
            ao.adana(**dict(zip(names, values, strict=True)), gradient="average"), PARAMS, grads
        )

    together = jax.vmap(train)(*(jnp.asarray(pair) for pair in zip(first, second, strict=True)))
    for i, values in enumerate((first, second)):
        assert close(jax.tree.map(lambda p, i=i: p[i], together), train(*values), 2e-5)


def test_injected_hyperparameters_may_change_without_compiling_again(make):
    """They enter as arrays; the state holds them, and the next step uses what is there."""
    optimizer = optax.inject_hyperparams(make)(learning_rate=0.01, peak_lr=0.01)
    g = jax.tree.map(lambda x: x[0], gradients(PARAMS, 1))
    state, step = optimizer.init(PARAMS), jax.jit(optimizer.update)
    for rate in (0.01, 0.005, 0.0):
        state.hyperparams["learning_rate"] = jnp.float32(rate)
        plain = make(rate, peak_lr=0.01)
        expected, _ = plain.update(g, state.inner_state, PARAMS)
        updates, state = step(g, state, PARAMS)
        assert close(updates, expected, 1e-5)
    assert step._cache_size() == 1


def test_kappa_may_follow_a_schedule():
    def kappa(count):
        return 0.9 - 0.1 * count

    optimizer = optax.inject_hyperparams(ao.scale_by_adana)(kappa=kappa, first_step=0)
    g = jnp.asarray(3.0)
    state = optimizer.init(g)
    for k in range(5):
        u, state = optimizer.update(g, state, g)
        assert float(u) == pytest.approx(1 + (1 + k) ** (1 - kappa(k)), rel=1e-5)


def test_default_clip_follows_an_injected_kappa():
    optimizer = optax.inject_hyperparams(ao.dana_mk4)(0.01, kappa=0.75, omega=0.0, peak_lr=0.01)
    g = jnp.asarray(3.0)
    state = optimizer.init(g)
    for kappa in (0.75, 0.85):
        state.hyperparams["kappa"] = jnp.asarray(kappa)
        u, _ = optimizer.update(g, state, g)
        m = 8 / 9 / math.sqrt(8 / 9)
        part = min(2 ** (1 - kappa) * m, schedules.default_clip_snr(kappa))
        assert float(u) == pytest.approx(-0.01 * (math.sqrt(9 / 8) + part + m), rel=1e-5)


def test_groups_have_their_own_hyperparameters():
    labels = {"w": "matrices", "b": "others", "s": "others"}
    matrices = functools.partial(ao.adana, 0.01, kappa=0.75, total_steps=100)
    others = functools.partial(ao.log_adamw, 0.001, omega=0.0)
    together = optax.multi_transform({"matrices": matrices(), "others": others()}, labels)
    grads = gradients(PARAMS, 5)
    seen = run(together, PARAMS, grads)
    assert close(seen["w"], run(matrices(), PARAMS, grads)["w"], 1e-6)
    assert close(seen["b"], run(others(), PARAMS, grads)["b"], 1e-6)


def test_masked_optimizers_pass_the_other_gradients_through(make):
    optimizer = optax.masked(make(0.01), {"w": True, "b": False, "s": False})
    g = jax.tree.map(jnp.ones_like, PARAMS)
    updates, _ = optimizer.update(g, optimizer.init(PARAMS), PARAMS)
    alone, _ = make(0.01).update(g, make(0.01).init(PARAMS), PARAMS)
    assert jnp.all(updates["b"] == 1)
    assert close(updates["w"], alone["w"], 1e-6)


@pytest.mark.parametrize("name", ["adana", "dana-star-mk4"])
def test_accumulated_gradients_count_as_one_step(name):
    make = CONFIGURATIONS[name]
    grads = gradients(PARAMS, 6)
    doubled = jax.tree.map(lambda g: jnp.repeat(g, 2, axis=0), grads)
    often = run(optax.MultiSteps(make(0.01), every_k_schedule=2), PARAMS, doubled)
    assert close(jax.tree.map(lambda p: p[1::2], often), run(make(0.01), PARAMS, grads), 1e-5)


# --- precision ------------------------------------------------------------------------------------


def test_averages_are_float32_and_16_bit_parameters_are_rounded_once(make):
    for dtype in (jnp.bfloat16, jnp.float16):
        low = jax.tree.map(lambda p, dtype=dtype: p.astype(dtype), PARAMS)
        wide = jax.tree.map(lambda p: p.astype(jnp.float32), low)
        g = jax.tree.map(lambda x: x[0], gradients(low, 1))
        optimizer = make(0.01)
        updates, state = optimizer.update(g, optimizer.init(low), low)
        averages = jax.tree.leaves(state[0]._replace(count=None))
        assert {a.dtype for a in averages} == {jnp.dtype("float32")}
        exact, _ = optimizer.update(g, optimizer.init(wide), wide)
        for name, p in optax.apply_updates(low, updates).items():
            assert p.dtype == dtype
            assert jnp.all(p == (wide[name] + exact[name]).astype(dtype))


def test_float32_parameters_stay_float32_when_jax_computes_in_float64(make):
    with x64():
        params = jax.tree.map(lambda p: p.astype(jnp.float32), PARAMS)
        mixed = {**params, "w": params["w"].astype(jnp.float64)}
        lr = jnp.asarray(0.01, jnp.float64)
        optimizer = make(lr, peak_lr=lr)
        g = jax.tree.map(jnp.ones_like, mixed)
        state = optimizer.init(mixed)
        _, after = optimizer.update(g, state, mixed)
        types = [jax.tree.map(lambda x: x.dtype, tree) for tree in (state, after)]
        assert types[0] == types[1]
        assert after[0].m["b"].dtype == jnp.float32
        assert after[0].m["w"].dtype == jnp.float64


def test_first_steps_in_float32_have_no_cancellation():
    """Optax's own `1 - 0.999**t` is off by 1e-5 in float32; the schedule here is not."""
    block = ao.scale_by_constant_betas()
    g = jnp.asarray(3.0, jnp.float32)
    state = block.init(g)
    for _ in range(5):
        u, state = block.update(g, state)
        assert float(u) == pytest.approx(1.0, abs=5e-7)


def test_ten_million_steps_count_exactly():
    optimizer = ao.adana(1e-3, total_steps=10**7)
    p = jnp.asarray(1.0)
    state = optimizer.init(p)
    far = state[0]._replace(count=jnp.asarray(10**7 - 1, jnp.int32))
    block = ao.scale_by_adana(0.85)
    _, new = block.update(jnp.asarray(1.0), far)
    assert new.count == 10**7
    assert float(new.m) == pytest.approx(8 / (8 + 10**7), rel=1e-6)


def test_zero_gradients_and_no_decay_change_nothing(make):
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    optimizer = make(0.01, omega=0.0)
    updates, _ = optimizer.update(zero, optimizer.init(PARAMS), PARAMS)
    assert all(bool(jnp.all(u == 0)) for u in jax.tree.leaves(updates))


# --- bad input ------------------------------------------------------------------------------------

EVERY = [ao.adana, ao.dana_mk4, ao.dana_star, ao.dana_star_mk4, ao.log_adamw, ao.log_ademamix]
EVERY += [ao.log_muon]
BAD = [
    ({"learning_rate": -1.0}, "learning_rate"),
    ({"learning_rate": math.nan}, "learning_rate"),
    ({"learning_rate": "fast"}, "learning_rate"),
    ({"learning_rate": 2e-2, "peak_lr": 1e-2}, "above peak_lr"),
    ({"learning_rate": lambda count: 1e-2}, "peak_lr"),
    ({"learning_rate": jnp.asarray(1e-2)}, "peak_lr"),
    ({"learning_rate": jnp.ones(2), "peak_lr": 1.0}, "learning_rate"),
    ({"peak_lr": 0.0}, "peak_lr"),
    ({"omega": -1.0}, "omega"),
    ({"omega": math.inf}, "omega"),
    ({"eps": -1e-8}, "eps"),
    ({"total_steps": 0}, "total_steps"),
    ({"decay_offset": -1.0}, "decay_offset"),
    ({"omega": 4.0, "decay_offset": 1.0}, "decay_offset"),
    ({"decay_order": "during"}, "decay_order"),
    ({"decay": "linear"}, "decay"),
    ({"decay": "constant"}, "total_steps"),
    ({"decay": "constant", "total_steps": 4}, "omega"),
    ({"decay": "constant", "total_steps": 100, "decay_offset": "x"}, "decay_offset"),
    ({"mask": 0.5}, "mask"),
    ({"mask": {"w": "yes"}}, "mask"),
]
LOG_TIME = [ao.adana, ao.dana_mk4, ao.dana_star, ao.dana_star_mk4]
BAD_LOG_TIME = [
    ({"kappa": 1.5}, "kappa"),
    ({"kappa": "0.85"}, "kappa"),
    ({"delta": 0.0}, "delta"),
    ({"delta": True}, "delta"),
    ({"momentum_scale": -1.0}, "momentum_scale"),
    ({"extra_momentum": -1.0}, "extra_momentum"),
    ({"variant": "papper"}, "variant"),
    ({"first_step": 2}, "first_step"),
    ({"first_step": None}, "first_step"),
    ({"first_step": "1"}, "first_step"),
    ({"momentum_cooldown": 0.1}, "total_steps"),
    ({"momentum_cooldown": jnp.asarray(0.1)}, "total_steps"),
    ({"momentum_cooldown": None}, "momentum_cooldown"),
    ({"momentum_cooldown": 1.1, "total_steps": 100}, "momentum_cooldown"),
]
BAD_ONE = [
    (ao.adana, {"momentum": "damp"}, "momentum"),
    (ao.adana, {"gradient": "mean"}, "gradient"),
    (ao.adana, {"average_beta": 1.0}, "average_beta"),
    (ao.adana, {"beta2": 1.0}, "beta2"),
    (ao.dana_mk4, {"clip_snr": 0.0}, "clip_snr"),
    (ao.dana_mk4, {"clip_snr": math.nan}, "clip_snr"),
    (ao.dana_star, {"grad_clip_snr": -2.0}, "grad_clip_snr"),
    (ao.log_adamw, {"betas": (0.9, 1.0)}, "beta2"),
    (ao.log_adamw, {"betas": (0.9,)}, "betas"),
    (ao.log_adamw, {"betas": 0.9}, "betas must be two numbers"),
    (ao.log_adamw, {"betas": None}, "betas must be two numbers"),
    (ao.log_ademamix, {"betas": "ab"}, "betas must be two numbers"),
    (ao.ademamix, {"total_steps": 100, "betas": 0.9}, "betas must be two numbers"),
    (ao.adana, {"correction": "no"}, "correction"),
    (ao.dana, {"average": "no"}, "average"),
    (ao.log_muon, {"ns_steps": 0}, "ns_steps"),
    (ao.log_muon, {"ns_steps": 2.5}, "ns_steps"),
    (ao.log_muon, {"ns_steps": "5"}, "ns_steps"),
    (ao.log_muon, {"rms_scale": 0.0}, "rms_scale"),
    (ao.log_muon, {"muon": {"w": "yes"}}, "muon"),
    (ao.log_muon, {"kappa": 1.5}, "kappa"),
    (ao.log_muon, {"momentum_cooldown": 0.1}, "total_steps"),
    (ao.log_ademamix, {"betas": (-0.1, 0.9)}, "beta1"),
    (ao.ademamix, {"total_steps": 4}, "delta / total_steps"),
    (ao.ademamix, {"total_steps": 0}, "total_steps"),
    (ao.ademamix, {"total_steps": 100, "omega": 100.0}, "omega"),
    (ao.ademamix, {"total_steps": 100, "decay": "linear"}, "decay"),
    (ao.dana, {"kappa": -0.1}, "kappa"),
    (ao.dana, {"momentum_scale": -1.0}, "momentum_scale"),
    (ao.dana, {"dimension": 0}, "dimension"),
    (ao.dana, {"forget": 0.0}, "forget"),
    (ao.ademamix, {"total_steps": 100, "beta3": 1.0}, "beta3"),
    (ao.ademamix, {"total_steps": 100, "alpha": -1.0}, "alpha"),
    (ao.ademamix, {"total_steps": 100, "warmup_steps": 0}, "warmup_steps"),
]


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [(f, *bad) for f in EVERY for bad in BAD]
    + [(f, *bad) for f in LOG_TIME for bad in BAD_LOG_TIME]
    + BAD_ONE,
)
def test_hyperparameters_out_of_range_are_refused_by_name(function, arguments, name):
    with pytest.raises(ValueError, match=name):
        function(**{"learning_rate": 1e-2, **arguments})


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (ao.add_weight_decay, {"decay": 0.1}, "decay"),
        (ao.add_weight_decay, {"decay": lambda t: 0.1, "gamma": "x"}, "gamma"),
        (ao.add_log_time_decay, {"gamma": None}, "gamma"),
        (ao.add_log_time_decay, {"gamma": 30}, "gamma"),
        (ao.add_log_time_decay, {"gamma": -1.0}, "gamma"),
        (ao.add_weight_decay, {"decay": lambda t: 0.1, "gamma": math.nan}, "gamma"),
        (ao.scale_by_schedules, {"ema_m": 0.1, "alpha": lambda t: 1.0}, "ema_m"),
        (ao.scale_by_schedules, {"ema_m": lambda t: 0.1, "alpha": 1.0}, "alpha"),
        (ao.decay_mask, {"params": PARAMS, "no_decay": 3}, "no_decay"),
        (ao.decay_mask, {"params": PARAMS, "no_decay": "("}, "no_decay"),
        (ao.muon_mask, {"params": PARAMS, "exclude": "haed"}, "exclude"),
        (ao.muon_mask, {"params": PARAMS, "heads": None}, "heads"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_by_name(function, arguments, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        function(**arguments)


def test_constant_decay_ignores_the_decay_offset_as_torch_does():
    grads = gradients(PARAMS, 3)
    make = functools.partial(ao.adana, 0.01, total_steps=100, decay="constant")
    assert close(run(make(decay_offset=5.0), PARAMS, grads), run(make(), PARAMS, grads), 0.0)


@pytest.mark.parametrize("zero", [0, 0.0, np.float32(0), jnp.zeros(())])
def test_no_momentum_cooldown_needs_no_horizon(zero):
    grads = gradients(PARAMS, 3)
    never = run(ao.adana(0.01), PARAMS, grads)
    assert close(run(ao.adana(0.01, momentum_cooldown=zero), PARAMS, grads), never, 0.0)


def test_a_traced_cooldown_without_a_horizon_is_none_at_0_and_loud_above():
    grads = gradients(PARAMS, 3)

    @jax.jit
    def last(cooldown):
        seen = run(ao.adana(0.01, momentum_cooldown=cooldown), PARAMS, grads)
        return jax.tree.map(lambda p: p[-1], seen)

    never = jax.tree.map(lambda p: p[-1], run(ao.adana(0.01), PARAMS, grads))
    assert close(last(0.0), never, 1e-6)
    assert all(bool(jnp.isnan(p).all()) for p in jax.tree.leaves(last(0.1)))


def test_clipping_at_infinity_is_no_clipping():
    grads = gradients(PARAMS, 5)
    none = run(ao.dana_mk4(0.01, clip_snr=math.inf, variant="released"), PARAMS, grads)
    assert close(none, run(ao.adana(0.01, variant="released"), PARAMS, grads), 1e-6)
    assert not close(none, run(ao.dana_mk4(0.01, variant="released"), PARAMS, grads), 1e-3)


def test_blocks_refuse_what_needs_a_second_moment_and_complex_parameters():
    with pytest.raises(ValueError, match="ema_v"):
        ao.scale_by_schedules(ema_m=lambda t: 0.1, alpha=lambda t: 1.0, star=True)
    with pytest.raises(ValueError, match="complex"):
        ao.adana(0.01).init(jnp.ones(2, jnp.complex64))


def test_a_schedule_above_its_peak_does_not_decay_more_than_the_peak_would():
    params = jnp.ones(2)
    above = ao.adana(lambda count: 0.1, peak_lr=1e-2, total_steps=100)
    updates, _ = above.update(jnp.zeros(2), above.init(params), params)
    assert jnp.allclose(params + updates, 1 - 4 / 11)


def test_a_schedule_below_zero_does_not_grow_the_weights():
    params = jnp.ones(2)
    for optimizer in (
        ao.adana(lambda count: -0.1, peak_lr=0.1, total_steps=1000),
        ao.adana(jnp.asarray(-0.1), peak_lr=0.1, total_steps=1000),
    ):
        updates, _ = optimizer.update(jnp.zeros(2), optimizer.init(params), params)
        assert jnp.all(updates == 0)


def test_a_count_that_was_not_raised_by_one_takes_no_step_uphill():
    optimizer = ao.adana(
        lambda count: 1e-3 * schedules.warmup_cosine(count, 1000, 20),
        peak_lr=1e-3,
        total_steps=1000,
    )
    params = jnp.ones(2)
    state = optimizer.init(params)
    first, state = optimizer.update(jnp.ones(2), state, params)
    second, _ = optimizer.update(jnp.ones(2), state, params)
    assert jnp.all(first == 0)
    assert jnp.all(second < 0)


def test_a_rate_above_its_peak_by_rounding_decays_as_at_the_peak():
    params = jnp.ones(2)
    seen = []
    for rate in (0.1 * (1 + 1e-7), 0.1):
        optimizer = ao.adana(rate, peak_lr=0.1, total_steps=1000)
        seen.append(optimizer.update(jnp.zeros(2), optimizer.init(params), params)[0])
    assert jnp.array_equal(*seen)


# --- warnings and advice --------------------------------------------------------------------------


def warned(make, *arguments, **given):
    """Return the warning that a call gives, or None."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make(*arguments, **given)
    assert len(caught) <= 1
    return caught[0] if caught else None


def at_the_call(warning):
    """Whether a warning points to the line of `warned` that made the optimizer."""
    lines = {line for _, _, line in warned.__code__.co_lines()}
    return warning.filename == __file__ and warning.lineno in lines


STRONG = [{"total_steps": 20}, {"total_steps": 150}, {"decay_offset": 4.0}]
STRONG += [{"decay": "constant", "total_steps": 5}, {"omega": 1.0, "decay_offset": 3.0}]


@pytest.mark.parametrize("given", STRONG)
def test_decay_that_wipes_weights_is_warned_of_as_in_torch_at_the_line_of_the_user(given):
    seen = warned(ao.adana, 1e-3, **given)
    parameters = [torch.nn.Parameter(torch.ones(2))]
    in_torch = warned(ADana, parameters, lr=1e-3, **given)
    assert str(seen.message) == str(in_torch.message)
    assert at_the_call(seen)
    if "decay" not in given:
        behind = warned(ao.add_log_time_decay, **given)
        assert str(behind.message) == str(seen.message)
        assert at_the_call(behind)


@pytest.mark.parametrize(
    "given", [{}, {"total_steps": 190}, {"omega": 0.0}, {"decay": "constant", "total_steps": 20}]
)
def test_decay_that_weights_survive_is_not_warned_of(given):
    assert warned(ao.adana, 1e-3, **given) is None


def test_traced_numbers_are_not_warned_of():
    def first(omega):
        optimizer = ao.adana(1e-3, omega=omega, decay_offset=4.0)
        return optimizer.update(jnp.zeros(2), optimizer.init(jnp.ones(2)), jnp.ones(2))[0]

    assert warned(jax.jit(first), 4.0) is None


FOREIGN = [
    (ao.adana, {"weight_decay": 0.1, "total_steps": 10_000}, "omega=10 "),
    (ao.adana, {"weight_decay": 0.1}, r"omega = lr \* weight_decay \* total_steps"),
    (ao.adana, {"b1": 0.9, "b2": 0.95}, "'b1', 'b2': .*delta"),
    (ao.adana, {"betas": (0.9, 0.95)}, "'betas': .*delta"),
    (ao.log_adamw, {"b1": 0.9}, r"betas=\(b1, b2\)"),
    (ao.log_muon, {"nesterov": True}, "leave it out"),
    (ao.dana, {"weight_decay": 0.1}, "no weight decay"),
    (ao.dana_star, {"omgea": 1.0}, "'omgea': it takes learning_rate, .*omega"),
]


@pytest.mark.parametrize(("function", "given", "advice"), FOREIGN)
def test_arguments_of_other_optimizers_are_refused_with_what_to_pass_instead(
    function, given, advice
):
    with pytest.raises(TypeError, match=f"{function.__name__} has no argument .*{advice}"):
        function(1e-2, **given)


def test_the_strength_in_other_units_is_that_at_the_peak():
    given = {"peak_lr": 0.1, "weight_decay": 0.1, "total_steps": 1000}
    with pytest.raises(TypeError, match="'weight_decay': pass omega=10 "):
        ao.adana(lambda count: 0.0, **given)
    with pytest.raises(TypeError, match=r"'lr': pass learning_rate.*omega=1 "):
        ao.adana(lr=0.01, weight_decay=0.1, total_steps=1000)


@pytest.mark.parametrize("function", [*EVERY, ao.ademamix, ao.dana])
def test_every_optimizer_shows_its_own_arguments(function):
    assert "learning_rate" in inspect.signature(function).parameters
    with pytest.raises(TypeError, match="'lr': pass learning_rate"):
        function(lr=1e-2)


def test_injected_hyperparameters_of_float16_parameters_need_a_dtype():
    """By default optax casts them to that of the parameters, and eps vanishes."""
    zero = {"w": jnp.zeros((2, 2), jnp.float16)}
    for dtype, works in ((None, False), (jnp.float32, True)):
        make = optax.inject_hyperparams(ao.adana, hyperparam_dtype=dtype)
        optimizer = make(0.01, peak_lr=0.01, total_steps=1000)
        updates, _ = optimizer.update(zero, optimizer.init(zero), zero)
        assert bool(jnp.isfinite(updates["w"]).all()) == works
