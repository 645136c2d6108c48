"""What the optimizers should do, computed another way: from the whole history at once, in float64.

An average is a weighted sum over all gradients, with weights in closed form (ratios of Gamma
functions, taken in 40 digits), and not a recurrence. Schedules and steps are written out from the
text of spec/optimizers.md and spec/plrf.md. Nothing here comes from `adana`, so that a mistake
there is not repeated here.

Arrays have a row for each step and a column for each coordinate. Step t = 1 is row 0.
"""

import functools
import math

import mpmath
import numpy as np

EPS = 1e-8


def steps(n, first=1):
    """Return the index of each step as a column: 1, 2, ... or, with `first=0`, 0, 1, ..."""
    return np.arange(first, n + first, dtype=np.float64)[:, None]


# --- weights of the gradients in an average -------------------------------------------------------


def log_growth(k, delta):
    """Return ln of Gamma(k+delta+1) / (Gamma(k+1) Gamma(delta+1)), the W_k of a log-time average.

    The part of an average of index j that is left at index k is W_j / W_k.
    """
    with mpmath.workdps(40):
        gamma = mpmath.loggamma
        return gamma(k + delta + 1) - gamma(k + 1) - gamma(delta + 1)


@functools.lru_cache(maxsize=32)
def log_time_weights(n, delta=8.0, first=1):
    """Return the weights in log-time averages: entry (t, s) is gradient s's share at step t.

    `delta Gamma(s+delta) Gamma(t+1) / (Gamma(s+1) Gamma(t+delta+1))`, s and t counted from `first`
    (spec/peers_optimizers.md section 5.1).
    """
    index = range(first, n + first)
    with mpmath.workdps(40):
        share = [mpmath.log(delta) + mpmath.loggamma(s + delta) - mpmath.loggamma(s + 1)
                 - mpmath.loggamma(delta + 1) for s in index]  # fmt: skip
        logs = np.array([float(x) for x in share])
        whole = np.array([float(log_growth(t, delta)) for t in index])
    return np.tril(np.exp(logs[None, :] - whole[:, None]))


def log_growth_between(t0, t, delta=8.0):
    """Return ln(W_t / W_t0): an average keeps its part exp(-that) of t0 until t."""
    with mpmath.workdps(40):
        return float(log_growth(t, delta) - log_growth(t0, delta))


@functools.lru_cache(maxsize=8)
def later_weights(t0, n, delta=8.0):
    """Return what steps t0+1 ... t0+n keep of the average at t0 (a column), and their weights."""
    with mpmath.workdps(40):
        start = log_growth(t0, delta)
        growth = [float(log_growth(t0 + k, delta) - start) for k in range(1, n + 1)]
    growth = np.array(growth)
    newest = delta / (delta + t0 + steps(n).T)
    return np.exp(-growth)[:, None], np.tril(newest * np.exp(growth[None, :] - growth[:, None]))


@functools.lru_cache(maxsize=32)
def constant_weights(n, beta):
    """Return the weights `(1 - beta) beta^(t - s)` in averages of constant memory."""
    age = np.maximum(steps(n) - steps(n).T, 0.0)
    return np.tril((1 - beta) * np.power(beta, age))


@functools.lru_cache(maxsize=32)
def ademamix_weights(n, start, final, warmup):
    """Return the weights in AdEMAMix's slow average, whose beta warms up over `warmup` steps.

    1/ln(beta) goes on a straight line from 1/ln(start) to 1/ln(final), so that ln of a product of
    betas is a sum of 1/(a + b j), a difference of digamma functions (spec/optimizers.md section 7,
    spec/plrf.md section 11).
    """
    with mpmath.workdps(40):
        a = 1 / mpmath.log(start) if start else mpmath.mpf(0)
        end = 1 / mpmath.log(final)
        b = (end - a) / warmup
        base = mpmath.digamma(1 + a / b)
        products = []
        for t in range(1, n + 1):
            warm = (mpmath.digamma(min(t, warmup) + 1 + a / b) - base) / b
            products.append(float(warm + max(t - warmup, 0) / end))
        newest = [float(-mpmath.expm1(1 / (a + b * min(s, warmup)))) for s in range(1, n + 1)]
    products = np.array(products)
    return np.tril(np.array(newest)[None, :] * np.exp(products[:, None] - products[None, :]))


# --- schedules ------------------------------------------------------------------------------------


def cosine(n, total, warmup):
    """Return gamma of steps k = 0 ... n-1: a warm-up from 1/100, then a cosine to 1/10."""
    gammas = []
    for k in range(n):
        if k < warmup:
            gammas.append(k / warmup + (1 - k / warmup) / 100)
        else:
            x = min((k - warmup) / (total - warmup), 1.0)
            gammas.append(0.1 + 0.45 * (1 + math.cos(math.pi * x)))
    return np.array(gammas)


def log_time_decay(n, omega, offset):
    """Return omega / (S + t) for t = 1 ... n."""
    return omega / (offset + steps(n)[:, 0])


def constant_decay(n, omega, total):
    """Return omega / T, n times."""
    return np.full(n, omega / total)


def cooldown(n, total, fraction):
    """Return what is left of the momentum: 1, then a straight line to 0 at T."""
    return np.clip((total - steps(n)) / (fraction * total), 0.0, 1.0)


# --- the steps u, before the learning rate --------------------------------------------------------


def log_time_moments(g, delta=8.0, first=1):
    """Return m and v of every step."""
    w = log_time_weights(len(g), delta, first)
    return w @ g, w @ g**2


def damping(n, kappa, first=1):
    """Return (1 + t)^(1 - kappa) of every step."""
    return (1 + steps(n, first)) ** (1 - kappa)


def adana(g, *, kappa=0.85, delta=8.0, scale=1.0, extra=0.0, first=1, eps=EPS):
    """Section 1: `[g + scale (A + c) m] / D`."""
    m, v = log_time_moments(g, delta, first)
    return (g + scale * (damping(len(g), kappa, first) + extra) * m) / (np.sqrt(v) + eps)


def dana_mk4(g, *, clip, kappa=0.85, delta=8.0, scale=1.0, extra=1.0, first=1, eps=EPS):
    """Section 2: the part of the momentum that grows is clipped."""
    m, v = log_time_moments(g, delta, first)
    d = np.sqrt(v) + eps
    f = np.minimum(damping(len(g), kappa, first) * np.abs(m) / d, clip)
    return g / d + scale * (np.sign(m) * f + extra * m / d)


def activity(g, delta=8.0, first=1, eps=EPS):
    """Section 3: tau, r and q of every step. `first` is the index of the averages alone."""
    w = log_time_weights(len(g), delta, first)
    d = np.sqrt(w @ g**2) + eps
    tau = w @ (np.abs(g) / (np.abs(g) + d))
    capped = np.minimum(tau, 0.5)
    t = steps(len(g))
    return tau, np.maximum(capped / (1 - capped), 1 / (1 + t)), np.maximum(tau * t, 1.0)


def dana_star(
    g, *, kappa=0.85, delta=8.0, scale=1.0, released=False, grad_clip=None, first=1, eps=EPS
):
    """Section 4, both rows of its table."""
    m, v = log_time_moments(g, delta, first)
    _, r, q = activity(g, delta, first, eps=eps)
    if released:
        growth = 1 + q ** (1 - kappa)
    else:
        growth = (1 + q) ** (1 - kappa)
    clipped = g
    if grad_clip is not None:
        snr = np.sqrt(r) * np.abs(g) + eps
        clipped = g * np.minimum(1.0, grad_clip * np.sqrt(v) / snr)
    return np.sqrt(r) / (np.sqrt(v) + eps) * (clipped + scale * growth * m)


def dana_star_mk4(g, *, clip, kappa=0.85, delta=8.0, scale=1.0, extra=1.0, eps=EPS):
    """Section 5."""
    m, v = log_time_moments(g, delta)
    _, r, q = activity(g, delta, eps=eps)
    n = np.sqrt(r) / (np.sqrt(v) + eps)
    f = np.minimum(q ** (1 - kappa) * np.abs(m) * n / r, clip)
    return n * g + scale * np.sign(m) * (r * f + extra * np.abs(m) * n)


def adam_root(g, beta2, eps=EPS):
    """Return the denominator of Adam, bias-corrected."""
    v = constant_weights(len(g), beta2) @ g**2
    return np.sqrt(v) / np.sqrt(1 - beta2 ** steps(len(g))) + eps


def adamw(g, *, betas=(0.9, 0.999), eps=EPS):
    """Section 6."""
    m = constant_weights(len(g), betas[0]) @ g
    return m / (1 - betas[0] ** steps(len(g))) / adam_root(g, betas[1], eps)


def _fast(g, beta1):
    """Return the bias-corrected fast average of AdEMAMix."""
    return constant_weights(len(g), beta1) @ g / (1 - beta1 ** steps(len(g))) if beta1 else g


def ademamix(
    g, *, total, kappa=0.85, delta=8.0, betas=(0.9, 0.999), scale=1.0,
    final_beta=None, final_alpha=None, warmup=None,
):  # fmt: skip
    """Section 7, with 1/ln(beta) on a straight line and no 1e-8 inside the logarithms."""
    warmup = total if warmup is None else warmup
    final_beta = 1 - delta / total if final_beta is None else final_beta
    final_alpha = total ** (1 - kappa) if final_alpha is None else final_alpha
    slow = ademamix_weights(len(g), betas[0], final_beta, warmup) @ g
    alpha = final_alpha * np.minimum(steps(len(g)) / warmup, 1.0)
    return (_fast(g, betas[0]) + alpha * scale * slow) / adam_root(g, betas[1])


def log_ademamix(g, *, kappa=0.85, delta=8.0, betas=(0.9, 0.999), scale=1.0):
    """As AdEMAMix, with ADana's average and damping in place of the warm-ups."""
    slow, _ = log_time_moments(g, delta)
    return (_fast(g, betas[0]) + scale * damping(len(g), kappa) * slow) / adam_root(g, betas[1])


# --- the ablations of section 8 -------------------------------------------------------------------


def log_adamw_ablation(g):
    m, v = log_time_moments(g)
    return m / (np.sqrt(v) + EPS)


def log_nadamw(g, delta=8.0):
    m, v = log_time_moments(g, delta)
    return (g + (delta + steps(len(g))) * m) / (np.sqrt(v) + EPS)


def log_nadamw_nesterov(g, delta=8.0):
    m, v = log_time_moments(g, delta)
    return (g + (delta + steps(len(g))) / delta * m) / (np.sqrt(v) + EPS)


def adana_no_gradient(g, kappa):
    m, v = log_time_moments(g)
    return damping(len(g), kappa) * m / (np.sqrt(v) + EPS)


def adana_short_average(g, kappa=0.85, beta1=0.9):
    m, v = log_time_moments(g)
    e = constant_weights(len(g), beta1) @ g
    return (e + damping(len(g), kappa) * m) / (np.sqrt(v) + EPS)


def adana_constant_beta2(g, kappa=0.85, beta2=0.999):
    m, _ = log_time_moments(g)
    return (g + damping(len(g), kappa) * m) / adam_root(g, beta2)


def adana_constant_alpha(g, scale):
    m, v = log_time_moments(g)
    return (g + scale * m) / (np.sqrt(v) + EPS)


def dana_figure_5(g, scale, beta1=0.9, beta2=0.999):
    m, _ = log_time_moments(g)
    e = constant_weights(len(g), beta1) @ g
    v = constant_weights(len(g), beta2) @ g**2
    return (e + scale * (1 + steps(len(g))) * m) / (np.sqrt(v) + EPS)


# --- DANA (spec/plrf.md section 2) ----------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def accumulated_weights(n, delta=8.0, forget=None):
    """Return what is left at step t of the gradient of step s in DANA's sum: W_s / W_t."""
    if forget is not None:
        return np.tril((1 - forget) ** np.maximum(steps(n) - steps(n).T, 0.0))
    logs = np.array([float(log_growth(k, delta)) for k in range(n)])
    return np.tril(np.exp(logs[None, :] - logs[:, None]))


def dana(g, *, scale, kappa=0.85, delta=8.0, dimension=None, forget=None, average=False):
    """`g + c(k) y` with k = t - 1, in the rows of table 2.2."""
    k = steps(len(g), 0)
    y = accumulated_weights(len(g), delta, forget) @ g
    if average and forget is None:
        y = log_time_weights(len(g), delta, 0) @ g
    elif average:
        y = constant_weights(len(g), 1 - forget) @ g
    if dimension is not None:
        return g + scale / dimension * y
    if forget is not None:
        return g + scale * y
    return g + scale * (1 + k) ** ((1 if average else 0) - kappa) * y


# --- the walk -------------------------------------------------------------------------------------


def walk(theta, u, lr, decay, *, after=False):
    """Return the weights after every step. `lr` and `decay` have an entry for each step."""
    seen = []
    for step, eta, fraction in zip(u, lr, decay, strict=True):
        if after:
            theta = (theta - eta * step) * (1 - fraction)
        else:
            theta = theta * (1 - fraction) - eta * step
        seen.append(theta)
    return np.array(seen)
