"""The update of the whole family, written twice: once to be read, once to be fast.

Everything that depends on time is a number in `Hyper`; the update itself never looks at the step.
Which terms a member has is its `Form`. A member of the family is therefore a form and a function
`t -> Hyper`, and nothing else.

`updated` is the specification, a pure function. Its numbers may be Python floats or 0-d tensors on
the parameter's device: the latter is how compiled and captured steps stay valid as time passes. It
is also what the fused kernels are made from. `update_foreach` performs the same operations in the
same order on lists of tensors, for where no kernel can be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Number = Any
"""A float, or a 0-d tensor of the state's dtype and device."""


class Hyper(NamedTuple):
    """The numbers of one update, computed in float64 for one group at one step."""

    lr: Number
    """Learning rate of this step, `eta * gamma(t)`."""
    decay: Number = 0.0
    """Fraction of the weight removed in this step, `gamma(t) * lambda(t)`."""
    ema_m: Number = 0.0
    """Weight of the newest gradient in the first moment m, `1 - beta1(t)`."""
    ema_v: Number = 0.0
    """Weight of the newest value in the second moment v and in tau, `1 - beta2(t)`."""
    ema_fast: Number = 0.0
    """Weight of the newest gradient in the fast average."""
    grad: Number = 0.0
    """Multiplier on the gradient (or its fast average) in the numerator."""
    momentum: Number = 0.0
    """Multiplier on m in the numerator; with tau, what multiplies its `(shift + q)^exponent`."""
    extra: Number = 0.0
    """Multiplier on a second m term that neither the clip nor tau's time touches."""
    root: Number = 1.0
    """Multiplier on sqrt(v) in the denominator (a bias correction)."""
    eps: Number = 0.0
    """Added to the denominator, outside the square root."""
    clip: Number = 0.0
    """Largest size of m / D (with tau: of `(shift + q)^exponent m / D`, in units of r)."""
    grad_clip: Number = 0.0
    """Largest signal-to-noise ratio of the gradient term."""
    t: Number = 0.0
    """Step, from 1: r is at least 1/(1 + t), and effective time is tau * t."""
    exponent: Number = 0.0
    """Growth exponent of the momentum in effective time, `1 - kappa`."""
    shift: Number = 0.0
    """Added to the effective time q before the power."""
    scale: Number = 1.0
    """Multiplier on the gradient before anything else. The one number that may be a 0-d tensor on
    the parameters' device among floats: a norm that the host has not read."""

    def packed(self, like: Tensor) -> Tensor:
        """Return all numbers as one small vector of `like`'s dtype on its device."""
        on_device = self.scale if isinstance(self.scale, Tensor) else None
        numbers = self if on_device is None else self._replace(scale=1.0)
        vector = torch.tensor(numbers, dtype=torch.float64, device="cpu").to(like.dtype)
        if like.device.type != "cpu":
            vector = vector.to(like.device, non_blocking=True)
        if on_device is not None:
            vector[Hyper._fields.index("scale")].mul_(on_device.to(vector))
        return vector

    @classmethod
    def unpacked(cls, vector: Tensor) -> Hyper:
        """Return the numbers of a packed vector as 0-d tensors that share its memory."""
        return cls(*vector.unbind())


class Form(NamedTuple):
    """Which terms the update of a group has: fixed while its hyperparameters are."""

    gradient: bool = True
    """The numerator has a gradient term."""
    fast: bool = False
    """The gradient term is a fast average of the gradients."""
    corrected: bool = False
    """The root of v is multiplied by a bias correction."""
    tau: bool = False
    """The activity estimate tau scales the step and replaces time in the momentum."""
    extra: bool = False
    """There is a second momentum term, untouched by clip and tau's time."""
    clip: bool = False
    """The momentum term is clipped."""
    grad_clip: bool = False
    """The gradient term is clipped."""
    decay: bool = True
    """Weights decay."""
    decay_after: bool = False
    """Decay acts on the updated weights instead of the old ones."""

    @property
    def plain(self) -> bool:
        """Whether the momentum term is no more than a multiple of m / D."""
        return not (self.tau or self.clip)

    @property
    def temporaries(self) -> int:
        """How many tensors of the parameter's shape the update needs besides its state."""
        return 1 + (not self.plain) + self.tau + self.grad_clip + self.decay

    def state_names(self) -> tuple[str, ...]:
        """Return the names of the state tensors this form needs, each of the parameter's shape."""
        names = {"m": True, "v": True, "fast": self.fast, "tau": self.tau}
        return tuple(name for name, needed in names.items() if needed)


TAU_CAP = 0.5
"""Largest tau that is undone as x/(1-x) (spec/optimizers.md section 3)."""

# --- one parameter: the specification -----------------------------------------------------------


class Updated(NamedTuple):
    """What an update makes of one parameter."""

    p: Any
    """The new weights."""
    state: dict[str, Any]
    """The new state tensors by name."""
    seen: dict[str, Any]
    """For telemetry, if asked for: elementwise what `SEEN` names."""


SEEN = ("g", "u", "m", "clipped", "tau", "r")
"""What telemetry sees of an element: g^2, u^2, m^2, whether the momentum's clip
bound it, tau, and m^2/v (0 where v is)."""


def updated(p: Any, g: Any, s: dict[str, Any], h: Hyper, form: Form, *, see: bool) -> Updated:
    """Return what becomes of one parameter. g is the gradient, s the state by name.

    m <- m + ema_m (g - m);  v <- v + ema_v (g^2 - v);  D = root * sqrt(v) + eps
    without tau:  A = 1, r = 1
    with tau:     tau <- tau + ema_v (|g|/(|g| + D) - tau)
                  r = x/(1-x) with x = max(min(tau, 1/2), 1/(2+t)), so that r >= 1/(1+t)
                  A = (shift + q)^exponent with q = max(tau * t, 1);  1/D <- sqrt(r)/D
    u  = grad * g/D + momentum * clamp(A * m/D, +- clip * r) + extra * m/D
    p <- p - (decay * p + lr * u)         decay_after=False: both terms use the old p
    p <- (p - lr * u) * (1 - decay)       decay_after=True

    A pure function of tensors of one shape and one floating dtype of at least 32 bits, or of the
    symbols that kernels are made from (`adana.optim.kernel`): it uses no more than their operators
    and methods. Averages and weights take their whole increment in one rounding, and never a
    product with `1 - small`: late in training, in float32, `v - ema_v v` alone rounds the same way
    step after step, which moves v by several percent at t = 1e7, and `p - decay * p` alone is p
    (spec/optimizers.md section 12).
    """
    state = {"m": s["m"].lerp(g, h.ema_m), "v": s["v"].lerp(g * g, h.ema_v)}
    m, v, first = state["m"], state["v"], g
    if form.fast:
        first = state["fast"] = s["fast"].lerp(g, h.ema_fast)
    d = v.sqrt()
    if form.corrected:
        d = d * h.root
    d = d + h.eps
    inverse, growth, limit = None, None, h.clip  # the first two stay None without tau
    if form.tau:
        size = g.abs()
        tau = state["tau"] = s["tau"].lerp(size / (size + d), h.ema_v)
        x = tau.clamp(max=TAU_CAP).clamp(min=1 / (2 + h.t))
        r = x / (1 - x)
        root = r.sqrt()
        inverse = root / d
        growth = ((tau * h.t).clamp(min=1) + h.shift).log().mul(h.exponent).exp()
        limit = r * h.clip
        if form.grad_clip:
            ratio = (v.sqrt() * h.grad_clip) / (root * size + h.eps)
            first = ratio.clamp(max=1) * g

    def moved(start: Any, factor: Number, d: Any) -> Any:
        """Return `start + factor * u`, gathered term by term; d is not looked at with tau."""
        if form.gradient and inverse is None:
            start = _add_quotient(start, first, d, factor * h.grad)
        elif form.gradient:
            start = _add_product(start, first, inverse, factor * h.grad)
        if form.plain:
            return _add_quotient(start, m, d, factor * (h.momentum + h.extra))
        y = m / d if inverse is None else m * inverse
        if form.extra:
            start = _add(start, y, factor * h.extra)
        if not form.clip:
            return _add_product(start, y, growth, factor * h.momentum)
        if growth is not None:
            y = y * growth
        y = y.clamp(min=-limit, max=limit)
        return _add(start, y, factor * h.momentum)

    factor = step_factor(h, form)
    new = p - moved(p * h.decay, factor, d) if form.decay else moved(p, factor, d)
    if not see:
        return Updated(new, state, {})
    # The same number, but another divisor to compilers, which share a reciprocal among divisions if
    # they are many: then weights would be rounded otherwise than without telemetry. Idle with tau.
    d = d + 0.0
    y = m / d if growth is None else m * inverse * growth
    seen = {
        "g": g * g,
        "u": moved(g * 0, 1.0, d).square(),
        "m": m * m,
        "clipped": y.abs() > limit if form.clip else None,
        "tau": state.get("tau"),
        "r": (m * m / v).where(v != 0, 0.0),
    }
    return Updated(new, state, {name: x for name, x in seen.items() if x is not None})


def step_factor(h: Hyper, form: Form) -> Number:
    """Return the factor of u in what is gathered before p changes.

    With decay that is `change = decay * p + factor * u`, to be subtracted from p; without, u goes
    into p itself. Decay after the step is `(p - lr u)(1 - decay) = p - decay p - lr (1 - decay) u`.
    """
    if not form.decay:
        return -h.lr
    return h.lr * (1 - h.decay) if form.decay_after else h.lr


def _add(x: Any, y: Any, factor: Number) -> Any:
    """Return x + factor * y."""
    return x.add(y, alpha=factor) if isinstance(factor, float) else x.addcmul(y, factor)


def _add_product(x: Any, y: Any, z: Any, factor: Number) -> Any:
    """Return x + factor * y * z."""
    return x.addcmul(y, z, value=factor) if isinstance(factor, float) else x.addcmul(y * factor, z)


def _add_quotient(x: Any, y: Any, z: Any, factor: Number) -> Any:
    """Return x + factor * y / z."""
    number = isinstance(factor, float)
    return x.addcdiv(y, z, value=factor) if number else x.addcdiv(y * factor, z)


# --- lists of parameters: the same, fast ----------------------------------------------------------


def update_foreach(
    p: list[Tensor],
    g: list[Tensor],
    s: dict[str, list[Tensor]],
    h: Hyper,
    form: Form,
    *,
    spare: Sequence[Into],
) -> None:
    """Do the same as `updated` for lists of tensors on one device; the numbers are floats.

    `spare` has `form.temporaries` entries: lists of tensors shaped as the parameters, to be
    overwritten, or None to allocate new ones.
    """
    room = iter(spare)
    first = g
    if form.fast:
        first = s["fast"]
        torch._foreach_lerp_(first, g, h.ema_fast)
    m, v = s["m"], s["v"]
    torch._foreach_lerp_(m, g, h.ema_m)
    d_room = next(room)
    square = _made("mul", d_room, g, g)
    torch._foreach_lerp_(v, square, h.ema_v)
    del square
    d = _made("sqrt", d_room, v)
    if form.corrected:
        torch._foreach_mul_(d, h.root)
    torch._foreach_add_(d, h.eps)
    y_room = None if form.plain else next(room)
    inverse: list[Tensor] = []
    r: list[Tensor] = []
    if form.tau:
        r = _foreach_activity(g, s["tau"], d, h, spare=y_room, room=next(room))
        if form.grad_clip:
            first = _foreach_clipped(g, v, r, h, spare=y_room, room=next(room))
        inverse = _made("sqrt", y_room, r)
        torch._foreach_div_(inverse, d)
    change = _made("mul", next(room), p, h.decay) if form.decay else p
    lr = step_factor(h, form)
    if form.gradient and form.tau:
        torch._foreach_addcmul_(change, first, inverse, value=lr * h.grad)
    elif form.gradient:
        torch._foreach_addcdiv_(change, first, d, value=lr * h.grad)
    if form.plain:
        torch._foreach_addcdiv_(change, m, d, value=lr * (h.momentum + h.extra))
    elif form.tau:
        torch._foreach_mul_(inverse, m)
        growth = _foreach_growth(s["tau"], h, room=d if d_room else None)
        _foreach_add_momentum(change, inverse, h, form, growth=growth, r=r)
    else:
        _foreach_add_momentum(change, _made("div", y_room, m, d), h, form, growth=[], r=[])
    if form.decay:
        torch._foreach_sub_(p, change)


Into = list[Tensor] | None
"""Where a result goes: tensors to be overwritten, or None for new ones."""


def _made(name: str, into: Into, x: list[Tensor], *others: Any) -> list[Tensor]:
    """Return the elementwise function `name` of x (and others), in `into` or in new memory."""
    if into is None:
        return list(getattr(torch, f"_foreach_{name}")(x, *others))
    function = getattr(torch, name)
    for i, out in enumerate(into):
        function(x[i], *(y[i] if isinstance(y, list) else y for y in others), out=out)
    return into


def _bounded(x: list[Tensor], least: float, most: float, *, room: Into) -> list[Tensor]:
    """Return x between two bounds, in `room`: one operation there, of which no list form exists."""
    if room is not None:
        for each, out in zip(x, room, strict=True):
            torch.clamp(each, least, most, out=out)
        return room
    bounded = list(torch._foreach_clamp_max(x, most))
    torch._foreach_clamp_min_(bounded, least)
    return bounded


def _foreach_activity(
    g: list[Tensor], tau: list[Tensor], d: list[Tensor], h: Hyper, *, spare: Into, room: Into
) -> list[Tensor]:
    """Update tau and return r, in `room`."""
    share = _made("abs", spare, g)
    torch._foreach_div_(share, _made("add", room, share, d))
    torch._foreach_lerp_(tau, share, h.ema_v)
    del share
    r = _bounded(tau, 1 / (2 + h.t), TAU_CAP, room=room)
    rest = _made("neg", spare, r)
    torch._foreach_add_(rest, 1)
    torch._foreach_div_(r, rest)
    return r


def _foreach_clipped(
    g: list[Tensor], v: list[Tensor], r: list[Tensor], h: Hyper, *, spare: Into, room: Into
) -> list[Tensor]:
    """Return the gradients, clipped at `grad_clip` units of their noise, in `room`."""
    noise = _made("sqrt", spare, r)
    torch._foreach_mul_(noise, _made("abs", room, g))
    torch._foreach_add_(noise, h.eps)
    clipped = _made("sqrt", room, v)
    torch._foreach_mul_(clipped, h.grad_clip)
    torch._foreach_div_(clipped, noise)
    torch._foreach_clamp_max_(clipped, 1)
    torch._foreach_mul_(clipped, g)
    return clipped


def _foreach_growth(tau: list[Tensor], h: Hyper, *, room: Into) -> list[Tensor]:
    """Return the growth of the momentum in effective time, in `room`.

    The power is taken as exp(exponent * log), which on a CPU is faster than torch's; the rounding
    of the logarithm matters little because it is at most that of t.
    """
    growth = _made("mul", room, tau, h.t)
    torch._foreach_clamp_min_(growth, 1)
    torch._foreach_add_(growth, h.shift)
    torch._foreach_log_(growth)
    torch._foreach_mul_(growth, h.exponent)
    torch._foreach_exp_(growth)
    return growth


def _foreach_add_momentum(
    change: list[Tensor],
    y: list[Tensor],
    h: Hyper,
    form: Form,
    *,
    growth: list[Tensor],
    r: list[Tensor],
) -> None:
    """Add the momentum's terms, made from y = m/D, to the change; y and r are overwritten.

    `growth` and `r` are empty without tau.
    """
    lr = step_factor(h, form)
    if form.extra:
        torch._foreach_add_(change, y, alpha=lr * h.extra)
    if not form.clip:
        torch._foreach_addcmul_(change, y, growth, value=lr * h.momentum)
        return
    if growth:
        torch._foreach_mul_(y, growth)
    _foreach_clip(y, r, h)
    torch._foreach_add_(change, y, alpha=lr * h.momentum)


def _foreach_clip(y: list[Tensor], r: list[Tensor], h: Hyper) -> None:
    """Clip y at `clip`, or at `clip * r` where there is an r, which is overwritten."""
    if not r:
        torch._foreach_clamp_max_(y, h.clip)
        torch._foreach_clamp_min_(y, -h.clip)
        return
    torch._foreach_mul_(r, h.clip)
    torch._foreach_clamp_max_(y, r)
    torch._foreach_neg_(r)
    torch._foreach_clamp_min_(y, r)
