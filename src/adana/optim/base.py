"""What every optimizer of the family shares: arguments, state, stepping, resuming.

A subclass lists its hyperparameters (`DEFAULTS`), checks them (`check_group`), says which terms its
update has (`form`) and how the hyperparameters become the numbers of a step (`hyper`). Nothing that
changes the maths lives on the object: hyperparameters are in `param_groups`, the step counter in
each parameter's state, so that both are saved and restored.
"""

from __future__ import annotations

import inspect
import numbers
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, overload

import torch
from torch import Tensor

from adana import schedules
from adana.checks import check_choice, check_integer, check_range
from adana.optim.codecs import CODECS, WEIGHTS
from adana.optim.coded import (
    Bf16Weights,
    StateDtype,
    add_missing_parts,
    decoded,
    in_full,
    is_coded,
    stored_parts,
)
from adana.optim.fused import update_fused, wants_kernel
from adana.optim.kernel.recipe import Rule
from adana.optim.keys import Streams
from adana.optim.peak import multiplier
from adana.optim.randomness import Keys
from adana.optim.refusals import (
    no_weight_decay,
    refuse_gradient,
    refuse_other_codes,
    refuse_parameter,
    refuse_tiny_eps,
    refuse_unequal_averages,
    unknown_argument,
    warn_of_other_codes,
)
from adana.optim.scaling import Clip, scaling_of
from adana.optim.scratch import temporaries
from adana.optim.storage import (
    STEP,
    local,
    local_like,
    new_state,
    restored,
    without_tensors,
    working_dtype,
)
from adana.optim.strength import check_first_decay, warn_of_strong_decay
from adana.optim.telemetry import Telemetry, added_up
from adana.optim.update import Form, Hyper, update_foreach, updated
from adana.optim.work import (
    Work,
    as_lists,
    numbers_of,
    on_this_process,
    pieces,
)

if TYPE_CHECKING:
    from adana.optim.offload import OffloadedStates

DecayOrder = Literal["before", "after"]
Decay = Literal["log-time", "constant"]
Chosen = tuple[dict[str, Any], Sequence[Tensor]]
"""A group and those of its parameters that a step is about."""
STATE_VERSION = 2
"""Version of the groups' contents, in each group as `version`. 1: only ADana and LogAdamW."""


class CommonArguments(TypedDict, total=False):
    """Keyword arguments that every member takes, documented at `adana.ADana`."""

    omega: float
    total_steps: float | None
    decay_offset: float | None
    decay: Decay
    decay_order: DecayOrder
    eps: float
    peak_lr: float | None
    foreach: bool | None
    maximize: bool
    capturable: bool
    differentiable: bool
    fused: bool | None
    state_dtype: StateDtype
    bf16_weights: Bf16Weights
    seed: int


class LogTimeOptimizer(torch.optim.Optimizer):
    """Base of the family.

    State of a parameter: `step` (int64, 0-d) and the tensors that `stored` names (the parameter's
    shape; float32, or float64 for float64 parameters, or as `state_dtype` says). Created at the
    parameter's first gradient.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "peak_lr": None,
        "omega": schedules.OMEGA,
        "total_steps": None,
        "decay_offset": None,
        "decay": "log-time",
        "decay_order": "before",
        "eps": schedules.EPS,
        "foreach": None,
        "maximize": False,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "state_dtype": "fp32",
        "bf16_weights": "stochastic",
        "seed": 0,
        "version": STATE_VERSION,
    }
    """Every hyperparameter a group holds besides `lr`, with its default."""

    rule: ClassVar[Rule] = staticmethod(updated)
    """The update of one parameter, a pure function: see `adana.optim.update.updated`."""

    takes_scaled_gradients: bool = False
    """Whether a `torch.amp.GradScaler` must leave its part to `step`, which may refuse it."""
    clip: Clip | None = None
    """What `adana.clip_grad_norm` left for the next step, which forgets it."""
    watch: Telemetry | None = None
    """Telemetry that is on: see `telemetry`."""
    _streams: Streams | None = None
    """Of the random bits; made when a step first needs some."""
    host: OffloadedStates | None = None
    """What keeps the states in host memory and steps there: see `adana.offload_states`."""

    def __init_subclass__(cls) -> None:
        """Show every hyperparameter and its default in the signature (`help`, `inspect`)."""
        super().__init_subclass__()
        kind = inspect.Parameter.KEYWORD_ONLY
        own = [
            inspect.Parameter(name, kind, default=default)
            for name, default in cls.DEFAULTS.items()
            if name != "version"
        ]
        init = inspect.signature(LogTimeOptimizer.__init__).parameters
        cls.__signature__ = inspect.Signature([init["params"], init["lr"], *own])  # type: ignore[attr-defined]

    def __init__(self, params: Iterable[Any], lr: float | Tensor, **given: Any) -> None:
        unknown = sorted(set(given) - set(self.DEFAULTS))
        if unknown:
            known = set(self.DEFAULTS) - {"version"}
            raise unknown_argument(type(self).__name__, unknown[0], given, known, lr)
        super().__init__(params, {"lr": lr, **self.DEFAULTS, **given})
        self._refuse_silent_lack_of_decay()
        self._warn_of_strong_decay()

    def _warn_of_strong_decay(self) -> None:
        """Warn once, of the group that decays most, where the first step would remove too much."""
        strongest = max(self.param_groups, key=lambda group: self.decay(group, 1))
        offset = strongest["decay_offset"] if strongest["decay"] == "log-time" else None
        first, omega = self.decay(strongest, 1), strongest["omega"]
        warn_of_strong_decay(first, omega, offset, stacklevel=4)  # who called the subclass

    def _refuse_silent_lack_of_decay(self) -> None:
        """Raise where groups made for AdamW without decay would switch all decay off."""
        spared = [group.get("weight_decay") == 0 for group in self.param_groups]
        if all(spared) and self.defaults["omega"] > 0:
            raise ValueError(
                f"every parameter group says weight_decay: 0, so nothing would decay, though omega="
                f"{self.defaults['omega']:g}. Make the groups with adana.param_groups(model), or "
                "say omega in them; pass omega=0 if no decay is meant."
            )

    # --- for subclasses ---------------------------------------------------------------------

    def hyper(self, group: dict[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1; a float or a tensor) for `group`."""
        raise NotImplementedError(f"{type(self).__name__} must implement hyper(group, t)")

    def form(self, group: Mapping[str, Any]) -> Form:
        """Return which terms the update of `group` has."""
        return Form(decay=group["omega"] > 0, decay_after=group["decay_order"] == "after")

    def state_names(self, group: Mapping[str, Any], p: Tensor) -> tuple[str, ...]:
        """Return the names of the state tensors of parameter `p`, each of its shape."""
        return self.form(group).state_names()

    def stored(self, group: Mapping[str, Any], p: Tensor) -> dict[str, torch.dtype]:
        """Return the names and dtypes of the state tensors of `p` as they are kept."""
        return stored_parts(group, p, self.state_names(group, p))

    def _check_codes(self, group: Mapping[str, Any], p: Tensor) -> None:
        """Raise `ValueError` unless the states of `p` can be kept as the group says."""
        if group["state_dtype"] == "fp32":
            return
        if p.dtype == torch.float64:
            raise ValueError(
                f"state_dtype={group['state_dtype']!r} is for weights of at most 32 bits, got one "
                f"of {p.dtype}: say state_dtype='fp32' in its group, which keeps float64 for it"
            )
        if group["state_dtype"] == "log16":
            refuse_tiny_eps(group["eps"])
            at_peak = {**group, "lr": self.peak(group)}
            hypers = [self.hyper(at_peak, t) for t in (1.0, 2.0, 30.0, 1e3, 1e5, 1e7)]
            refuse_unequal_averages(
                type(self).__name__,
                self.state_names(group, p),
                all(h.ema_m == h.ema_v for h in hypers),
            )

    def resolve_group(self, group: dict[str, Any]) -> None:
        """Replace the `None`s of a complete group by what they stand for, and numpy's integers."""
        if isinstance(group["seed"], numbers.Integral) and not isinstance(group["seed"], bool):
            group["seed"] = int(group["seed"])  # else torch.load would not read it again
        if group["decay_offset"] is None:
            group["decay_offset"] = schedules.default_decay_offset(
                group["omega"], group["total_steps"]
            )

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of a complete group is in its range."""
        check_range("lr", float(group["lr"]), low=0.0)
        peak = "peak_lr" if group["peak_lr_explicit"] else "lr (unless peak_lr is given)"
        check_range(peak, group["peak_lr"], low=0.0, low_open=True)
        check_range("omega", group["omega"], low=0.0)
        check_range("eps", group["eps"], low=0.0)
        check_range("decay_offset", group["decay_offset"], low=0.0)
        if group["total_steps"] is not None:
            check_range("total_steps", group["total_steps"], low=1.0)
        check_choice("decay_order", group["decay_order"], ("before", "after"))
        check_choice("decay", group["decay"], ("log-time", "constant"))
        if group["differentiable"]:
            raise ValueError(
                f"{type(self).__name__} updates in place and cannot be differentiated through; "
                "leave differentiable=False, or differentiate through adana.optax instead."
            )
        self._check_decay(group)
        self._check_lr_tensor(group)
        self._check_execution(group)

    def _check_execution(self, group: Mapping[str, Any]) -> None:
        check_choice("state_dtype", group["state_dtype"], tuple(CODECS))
        check_choice("bf16_weights", group["bf16_weights"], tuple(WEIGHTS))
        check_integer("seed", group["seed"], low=0, high=2**64 - 1)
        if group["fused"] and group["foreach"] is not None:
            raise ValueError("pass fused=True or foreach, not both: they are two ways to step")
        if group["capturable"] and self.host is not None:
            raise ValueError(
                "capturable=True is for steps that run on the device, and these run on the host, "
                "where the states are: pass capturable=False, or do not offload the states"
            )

    def _check_decay(self, group: Mapping[str, Any]) -> None:
        if group["decay"] == "constant" and group["total_steps"] is None:
            raise ValueError("decay='constant' removes omega / total_steps: pass total_steps")
        check_first_decay(self.decay(group, 1), group["omega"], group["decay_offset"])

    def _check_lr_tensor(self, group: Mapping[str, Any]) -> None:
        lr = group["lr"]
        if isinstance(lr, Tensor) and lr.device.type != "cpu" and not group["capturable"]:
            raise ValueError(
                f"lr is a tensor on {lr.device}, which would be read back at every step; "
                "pass capturable=True, or a number or CPU tensor"
            )

    # --- what depends on time ---------------------------------------------------------------

    def decay(self, group: Mapping[str, Any], t: Any) -> Any:
        """Return the fraction of a weight that decay removes at step t, before gamma."""
        if group["decay"] == "constant":
            return schedules.constant_decay(group["omega"], group["total_steps"])
        if group["omega"] == 0:
            return 0.0
        return schedules.log_time_decay(t, group["omega"], group["decay_offset"])

    @staticmethod
    def peak(group: Mapping[str, Any]) -> Any:
        """Return the highest learning rate of the run of a group.

        It is the explicit `peak_lr`, else the `max_lr` or `initial_lr` that torch's schedulers
        leave in the group, else the learning rate at construction.
        """
        if group["peak_lr_explicit"]:
            return group["peak_lr"]
        return group.get("max_lr", group.get("initial_lr", group["peak_lr"]))

    def gamma(self, group: Mapping[str, Any]) -> Any:
        """Return the schedule multiplier `lr / peak` of a group.

        A tensor if capturable with a tensor `lr`; then it is cut off at 1, because a check would
        have to wait for the device.

        Raises:
            ValueError: the learning rate is above its peak, so that decay would be too strong.
        """
        lr, peak = group["lr"], self.peak(group)
        if group["capturable"] and isinstance(lr, Tensor):
            return (lr / peak).clamp(max=1.0)
        return multiplier(float(lr), float(peak), type(self).__name__)

    def step_numbers(self, group: Mapping[str, Any], t: Any) -> dict[str, Any]:
        """Return the entries of `Hyper` that all members compute alike."""
        lr = group["lr"]
        if not (group["capturable"] and isinstance(lr, Tensor)):
            lr = float(lr)
        return {
            "lr": lr,
            "decay": self.gamma(group) * self.decay(group, t),
            "eps": group["eps"],
            "scale": -1.0 if group["maximize"] else 1.0,
        }

    # --- groups -----------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, filling in defaults and resolving `peak_lr`, `decay_offset` and the like.

        A group may say `weight_decay: 0` instead of `omega: 0`, as groups made for
        `torch.optim.AdamW` do; any other `weight_decay` is refused, because it has other units.
        """
        group = dict(param_group)
        weight_decay = group.get("weight_decay")
        if weight_decay:
            merged = {**self.defaults, **group}
            advice = no_weight_decay(weight_decay, merged["lr"], merged["total_steps"])
            raise ValueError(f"{type(self).__name__} {advice}")
        if weight_decay == 0:
            group.setdefault("omega", 0.0)
        merged = {**self.defaults, **group}
        explicit = merged["peak_lr"] is not None
        if not explicit:
            merged["peak_lr"] = float(merged["lr"])
        elif group.get("peak_lr") is None and float(self.defaults["lr"]) > 0:
            # One peak for all: a group with a learning rate of its own has its peak in proportion.
            merged["peak_lr"] *= float(merged["lr"]) / float(self.defaults["lr"])
        merged["written_by"] = type(self).__name__
        merged["peak_lr_explicit"] = merged.get("peak_lr_explicit", explicit)
        self.resolve_group(merged)
        self.check_group(merged)
        super().add_param_group(merged)
        try:
            for p in self.param_groups[-1]["params"]:
                refuse_parameter(type(self).__name__, p)
                self._check_codes(self.param_groups[-1], p)
        except (RuntimeError, ValueError):
            self.param_groups.pop()
            raise

    # --- the step ---------------------------------------------------------------------------

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Perform one update; `closure`, if given, re-evaluates the model and returns the loss.

        Works inside `torch.compile`: the counters and numbers are computed in Python and reach the
        compiled update as one small tensor a group, so that it compiles once.

        Raises:
            RuntimeError: a gradient is sparse (of any layout but strided) or complex, or a
                parameter became so since it was added; real parameters have complex gradients only
                where their `grad_dtype` allows it. Nothing has changed then.
            ValueError: the learning rate is above its peak (see `gamma`), or a parameter became
                float64, which has no codes; nothing has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._do(self._plan(self._packed))
        return loss

    @torch.no_grad()
    def step_only(self, params: Mapping[int, Sequence[Tensor]]) -> None:
        """Update only these parameters, by the index of their group, as `step` would.

        Hooks of the step do not run: it ends with `step` (see `adana.release_gradients`).
        """
        chosen = [(self.param_groups[i], some) for i, some in params.items()]
        self._do(self._plan(self._packed, chosen))

    @property
    def _packed(self) -> bool:
        """Whether the numbers of a step are to come as tensors."""
        return torch.compiler.is_compiling() and self.host is None

    def _do(self, plan: Sequence[Work]) -> None:
        """Update all that is planned."""
        if self.host is not None:
            self.host.update(plan)
            return
        for work in plan:
            self.update(work)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, and a clip of them that no step has used."""
        self.clip = None
        if self.host is not None:
            self.host.forget()
        super().zero_grad(set_to_none)

    def gradient(self, p: Tensor) -> Tensor | None:
        """Return the gradient of `p` for the coming step, wherever that is kept."""
        return p.grad if self.host is None else self.host.gradient(p)

    def home(self, p: Tensor) -> torch.device:
        """Return the device that the state of `p` is kept on."""
        return p.device if self.host is None else torch.device("cpu")

    def bring_states_home(self) -> None:
        """Move the state tensors of all parameters to where they are kept now."""
        for p in (p for group in self.param_groups for p in group["params"] if p in self.state):
            for name, x in self.state[p].items():
                if name != STEP and isinstance(x, Tensor):
                    self.state[p][name] = x.to(self.home(p))

    @torch.compiler.disable
    def _plan(self, packed: bool, chosen: Sequence[Chosen] | None = None) -> list[Work]:
        """Advance the counters and return what is to be done, nothing of it done yet.

        With `packed` the numbers come as tensors, so that compiled code is valid at every step.
        Of all parameters, unless some are `chosen`.
        """
        if chosen is None:
            chosen = [(group, group["params"]) for group in self.param_groups]
        for group, some in chosen:
            self._refuse(group, some)  # before any counter has moved
        scaling = scaling_of(self, self.clip)
        self.clip = None
        if scaling.skip is True:
            if self.watch is not None:
                self.watch.skip()
            return []
        keys = self._keys(packed)
        plan = []
        for group, some in chosen:
            found = {p: g for p in some if (g := self.gradient(p)) is not None}
            params = list(found)
            if not params:
                continue
            self._advance(group, params)
            for alike, hyper in self._numbers(group, params, packed):
                grads, states = [found[p] for p in alike], [self.state[p] for p in alike]
                work = Work(group, alike, grads, states, hyper, keys(group, alike), owners=alike)
                plan.append(scaling.of(work))
                if packed:  # compiled code never sees telemetry
                    self.observe(plan[-1])
        return plan

    def _advance(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Count a step of these parameters; those without a state get one."""
        for p in params:
            if not self.state[p]:
                parts, capturable = self.stored(group, p), group["capturable"]
                self.state[p].update(new_state(p, parts, self.home(p), capturable=capturable))
            elif p.dtype == torch.bfloat16:
                add_missing_parts(self.state[p], group, p, self.home(p))
        steps = [self.state[p][STEP] for p in params]
        if group["capturable"]:
            torch._foreach_add_(steps, 1)
        else:  # torch would make a tensor of the number anew for each of them
            torch._foreach_add_(steps, torch.ones_like(steps[0]), alpha=1)

    def _refuse(self, group: dict[str, Any], params: Iterable[Tensor]) -> None:
        """Raise for a learning rate above its peak, and for what the update does not work on."""
        self.gamma(group)
        for p in params:
            if (g := self.gradient(p)) is not None:
                refuse_gradient(type(self).__name__, p, g)
                if not self.state.get(p):  # it may have another dtype than when it was added
                    self._check_codes(group, p)

    def _keys(self, packed: bool) -> Callable[[dict[str, Any], list[Tensor]], list[Keys]]:
        """Return what gives the keys of the random bits of this step, if it needs any."""
        valid: Streams | None = None

        def keys(group: dict[str, Any], params: list[Tensor]) -> list[Keys]:
            nonlocal valid
            if not is_coded(group, params[0]):
                return []
            if valid is None:  # once a step, which would be slow for many groups otherwise
                self._streams = self._streams or Streams()
                valid = self._streams.of(self.param_groups)
            steps = [self.state[p][STEP] for p in params]
            if group["capturable"]:  # the counters may not be read
                return valid.keys_on_device(group, params, steps)
            return valid.keys(group, params, int(steps[0]), as_tensors=packed)

        return keys

    def _numbers(
        self, group: dict[str, Any], params: list[Tensor], packed: bool
    ) -> Iterable[tuple[list[Tensor], Hyper | Tensor]]:
        """Yield the parameters that can be updated together, with the numbers of their step."""
        together: dict[Any, list[Tensor]] = defaultdict(list)
        for p in params:
            state = self.state[p]
            t = 0 if group["capturable"] else state[STEP].item()
            together[t, tuple(state), p.dtype, p.device].append(p)
        for (t, *_), some in together.items():
            if group["capturable"]:
                yield some, self._numbers_on_device(group, some)
            else:
                h = self.hyper(group, t)
                # Not as the state is kept: codes are integers.
                dtype, device = working_dtype(some[0]), some[0].device
                yield some, h.packed(torch.empty((), dtype=dtype, device=device)) if packed else h

    def _numbers_on_device(self, group: dict[str, Any], params: list[Tensor]) -> Tensor:
        """Return a row of numbers for each parameter, computed on its device without waiting."""
        t = torch.stack([self.state[p][STEP] for p in params]).to(torch.float64)
        columns = [
            x.to(t).expand_as(t) if isinstance(x, Tensor) else torch.full_like(t, x)
            for x in self.hyper(group, t)
        ]
        return torch.stack(columns, dim=1).to(working_dtype(params[0]))

    def update(self, work: Work) -> None:
        """Update the parameters of `work` and their states in place."""
        rest = work
        if not torch.compiler.is_compiling():
            rest = self._update_fused(work)
            if not rest.params:
                return
            self.observe(rest)
        names = self.stored(rest.group, rest.owners[0])
        if is_coded(rest.group, rest.params[0]):
            self._update_coded(rest, names)
        elif as_lists(rest):
            for piece in pieces(rest, names):
                self._update_together(piece)
        else:
            self._update_together(on_this_process(rest, names))

    def _update_fused(self, work: Work) -> Work:
        """Update by a kernel what can be, and return the rest."""
        if work.skip is not None or not wants_kernel(work.group, work.params[0]):
            return work
        p = work.owners[0]
        names = self.state_names(work.group, p)
        return update_fused(
            work,
            self.rule,
            self.form(work.group),
            names,
            self.stored(work.group, p),
            watch=self.watching,
        )

    def _update_coded(self, work: Work, names: Iterable[str]) -> None:
        """Update parameters whose states or weights are kept in fewer bits, one by one."""
        for i in range(len(work.params)):
            for wide in decoded(work, i, names):
                self._update_together(wide)

    def _update_together(self, work: Work) -> None:
        """Update the parameters of `work`, all of whose tensors are local.

        Parameters narrower than their state (bf16, fp16) are updated in the state's dtype and
        rounded once, decay and step together.
        """
        wide = working_dtype(work.params[0])
        params, grads = _as_dtype(work.params, wide), _as_dtype(work.grads, wide)
        if work.scaled:
            grads = self._scaled(grads, work.hyper)
        self.update_wide(work._replace(params=params, grads=grads))
        for p, target in zip(work.params, params, strict=True):
            if p is not target:
                p.copy_(target)

    @staticmethod
    def _scaled(grads: list[Tensor], hyper: Hyper | Tensor) -> list[Tensor]:
        """Return new gradients, multiplied by the `scale` of the step."""
        if isinstance(hyper, Hyper):
            return list(torch._foreach_mul(grads, hyper.scale))
        return [g * numbers_of(hyper, i).scale for i, g in enumerate(grads)]

    def update_wide(self, work: Work) -> None:
        """Apply the update to `work`, all of whose tensors are local and have the state's dtype."""
        form, hyper = self.form(work.group), work.hyper
        if isinstance(hyper, Hyper) and as_lists(work):
            states = {name: [state[name] for state in work.states] for name in work.states[0]}
            self.update_lists(work.params, work.grads, states, hyper, form)
            return
        several = zip(work.params, work.grads, work.states, strict=True)
        for i, (p, g, state) in enumerate(several):
            new = self.rule(p, g, state, numbers_of(hyper, i), form, see=False)
            for old, value in ((p, new.p), *((state[name], x) for name, x in new.state.items())):
                old.copy_(value if work.skip is None else old.where(work.skip, value))

    def update_lists(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        states: dict[str, list[Tensor]],
        hyper: Hyper,
        form: Form,
    ) -> None:
        """Do the same as `rule` for lists of tensors, in place."""
        spare = temporaries(params, form.temporaries)
        update_foreach(params, grads, states, hyper, form, spare=spare)

    # --- telemetry --------------------------------------------------------------------------

    def telemetry(self, every: int = 1) -> Telemetry:
        """Return a watch on the steps inside a `with` block: norms of g, u, m and the like.

        Steps take the same weights, to the bit. A watched step takes a little longer where it is
        fused, and about twice as long elsewhere; the others cost nothing. See docs/telemetry.md.
        Replays of a captured step (CUDA graphs) are not seen.

        Args:
            every: watch the first step and each `every`-th after it.

        Raises:
            ValueError: `every` is not an integer >= 1.
            RuntimeError: on entering it, another watch is on.

        Example:
            >>> import torch, adana
            >>> layer = torch.nn.Linear(4, 2, bias=False)
            >>> optimizer = adana.ADana(layer.named_parameters(), lr=1e-3, omega=0)
            >>> layer(torch.ones(1, 4)).sum().backward()
            >>> with optimizer.telemetry() as watch:
            ...     optimizer.step()
            >>> round(watch.read()["weight"].g, 4)
            2.8284
        """
        return Telemetry(self, every)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Return whether a `torch.amp.GradScaler` leaves division and skipping to `step`.

        As for torch's own optimizers, where the fused step was asked for by name; and where steps
        are captured or a clip is pending. Otherwise the scaler does both, and does not call `step`
        to skip it, which is how Accelerate and Lightning notice.
        """
        groups = self.param_groups
        asked = all(group["fused"] or group["capturable"] for group in groups)
        return asked or self.clip is not None or self.takes_scaled_gradients

    @property
    def watching(self) -> Telemetry | None:
        """The watch that is on, if the coming step is one for it."""
        return self.watch if self.watch is not None and self.watch.due else None

    @torch.compiler.disable
    def observe(self, work: Work) -> None:
        """Tell a watch what the update will do, before it does: nothing changes."""
        watch = self.watching
        if watch is not None:
            for i, p in enumerate(work.owners):
                watch.add([p], added_up(self.look(work, i)))

    def look(self, work: Work, i: int) -> Mapping[str, Tensor]:
        """Return what telemetry sees of the elements of the i-th parameter (`update.SEEN`)."""
        p, state, h = work.params[i], work.states[i], numbers_of(work.hyper, i)
        names = self.stored(work.group, work.owners[i])
        wide = working_dtype(p)
        if is_coded(work.group, p):
            weights, full = in_full(work, i, names)
        else:
            weights, full = local(p).to(wide), {name: local(state[name]) for name in names}
        g = local_like(work.grads[i], p).to(wide)
        if work.scaled:
            g = g * h.scale
        return self.rule(weights, g, full, h, self.form(work.group), see=True).seen

    # --- changing course --------------------------------------------------------------------

    def reschedule(self, **changes: Any) -> None:
        """Change hyperparameters of all groups in the middle of training.

        For a changed horizon (`total_steps`), memory (`delta`), damping (`kappa`), decay (`omega`,
        `decay_offset`), peak of the learning rate (`peak_lr`, for going on at another rate) and
        whatever else the groups hold. The averages are normalised, so they stay valid. Groups
        without decay stay without it. A `decay_offset` that was the default for the old horizon
        becomes the default for the new one.

        Raises:
            ValueError: a name is unknown, or a value is out of range; nothing is changed then.
        """
        fixed = {
            "version", "variant", "muon", "foreach", "capturable", "differentiable",
            "state_dtype", "bf16_weights",
        }  # fmt: skip
        unknown = sorted(set(changes) - (set(self.DEFAULTS) - fixed))
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} cannot be rescheduled; the choice is "
                f"{', '.join(sorted(set(self.DEFAULTS) - fixed))}"
            )
        if changes.get("omega") and not any(group["omega"] for group in self.param_groups):
            raise ValueError("no group has any decay (omega 0), so omega cannot be rescheduled")
        renewed = [self._changed(group, changes) for group in self.param_groups]
        for group, new in zip(self.param_groups, renewed, strict=True):
            group.update(new)

    def _changed(self, group: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        new = {**group, **changes}
        if group["omega"] == 0:
            new["omega"] = 0.0
        default = schedules.default_decay_offset(group["omega"], group["total_steps"])
        if "decay_offset" not in changes and group["decay_offset"] == default:
            new["decay_offset"] = None
        new["peak_lr_explicit"] = group["peak_lr_explicit"] or "peak_lr" in changes
        self.resolve_group(new)
        self.check_group(new)
        for p in group["params"]:
            if self.state_names(new, p) != self.state_names(group, p):
                raise ValueError(
                    f"{', '.join(sorted(changes))} cannot be rescheduled to that: the update would "
                    "need averages that were not kept"
                )
            self._check_codes(new, p)
        return new

    # --- saving and restoring ---------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or saved optimizer, filling in hyperparameters it did not have yet."""
        super().__setstate__(state)
        for group in self.param_groups:
            version = group.get("version", 1)
            if version > STATE_VERSION:
                raise ValueError(
                    f"this state was written by a newer adana (state version {version}, this one "
                    f"reads up to {STATE_VERSION}); install that version to load it"
                )
            for name, value in self.DEFAULTS.items():
                group.setdefault(name, value)
            group["version"] = STATE_VERSION
            group["written_by"] = type(self).__name__
            group.setdefault("peak_lr_explicit", False)
            self.resolve_group(group)
            self.check_group(group)
            for p in group["params"]:
                self._check_codes(group, p)
        self.bring_states_home()  # a copy of an optimizer with offloaded states has them not

    def _refuse_other_writers(self, groups: list[dict[str, Any]]) -> None:
        """Raise where the saved groups are not of this class, of one it extends, or of ours."""
        if not all("omega" in group for group in groups):
            raise ValueError(
                f"this state dict is of another optimizer: its groups have no omega. To go on from "
                f"AdamW's state with {type(self).__name__}, use adana.load_adamw_state."
            )
        known = {cls.__name__ for cls in type(self).__mro__}
        writers = {group["written_by"] for group in groups if "written_by" in group}
        for writer in writers - known:
            raise ValueError(
                f"this state dict was written by {writer}, whose averages are not those of "
                f"{type(self).__name__}. Load it into a {writer}, or start with a fresh state."
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state dict. Once training has begun it says which peak learning rate it had.

        A scheduler built after loading would leave another one in the groups, and decay would grow:
        torch.distributed.checkpoint loads only entries that the groups have at that time.
        """
        saved = super().state_dict()
        if saved["state"]:
            for group in saved["param_groups"]:
                group["peak_lr"] = float(self.peak(group))
                group["peak_lr_explicit"] = True
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict, keeping every state tensor in the dtype it was saved in.

        The saved hyperparameters replace the constructor's, as in `torch.optim`; so states go on in
        the codes they were saved in (`state_dtype`, `bf16_weights`). Checkpoints from before a
        hyperparameter existed get its default.

        Raises:
            ValueError: the groups do not fit, or a newer adana wrote them.

        Warns:
            UserWarning: a group was built with other codes than float32, which are not the saved.
        """
        final = state_dict

        def keep(_: Any, hooked: dict[str, Any]) -> dict[str, Any]:
            nonlocal final
            final = hooked  # what the hooks registered before made of it
            self._refuse_other_writers(hooked["param_groups"])
            return hooked if self.host is None else without_tensors(hooked)

        asked = [group["state_dtype"] for group in self.param_groups]
        handle = self.register_load_state_dict_pre_hook(keep)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        warn_of_other_codes(asked, [group["state_dtype"] for group in self.param_groups])
        saved_ids = [i for group in final["param_groups"] for i in group["params"]]
        owners = [(p, group) for group in self.param_groups for p in group["params"]]
        for i, (p, group) in zip(saved_ids, owners, strict=True):
            # Whoever looks for a state that is not there leaves an empty one.
            if saved := final["state"].get(i):
                capturable = group["capturable"]
                parts = self.stored(group, p)
                refuse_other_codes(saved, parts)
                self.state[p] = restored(
                    saved, self.state[p], p, parts, self.home(p), capturable=capturable
                )


def _as_dtype(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the tensors in `dtype`: the same list where they have it."""
    if all(x.dtype == dtype for x in tensors):
        return tensors
    return [x.to(dtype) for x in tensors]
