"""What an optimizer does: plan a step of all parameters, and update them, fused or by torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, overload

import torch
from torch import Tensor

from adana.dtensors import local
from adana.optim.codecs import WEIGHTS
from adana.optim.coded import decoded, in_full, is_coded, match_parts
from adana.optim.fused import update_fused, wants_kernel
from adana.optim.kernel.recipe import Rule
from adana.optim.keys import Streams
from adana.optim.randomness import Keys
from adana.optim.refusals import no_weight_decay, refuse_cast, refuse_gradient
from adana.optim.rows import Rows
from adana.optim.scaling import Clip, scaling_of
from adana.optim.scheduled import ScheduledOptimizer
from adana.optim.scratch import temporaries
from adana.optim.storage import STEP, count_of, kept_dtype, local_like, new_state, working_dtype
from adana.optim.telemetry import Telemetry, added_up
from adana.optim.update import Form, Hyper, update_foreach, updated
from adana.optim.work import Work, as_lists, numbers_of, on_this_process, pieces

Chosen = tuple[dict[str, Any], Sequence[Tensor]]
"""A group and those of its parameters that a step is about."""


class _Ready(NamedTuple):
    """Parameters of a group that have gradients, and their states: none yet before a first step."""

    group: dict[str, Any]
    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Tensor]]

    def chosen(self, which: Sequence[int]) -> _Ready:
        """Return some of them."""
        return _Ready(
            self.group,
            [self.params[i] for i in which],
            [self.grads[i] for i in which],
            [self.states[i] for i in which],
        )


class SteppingOptimizer(ScheduledOptimizer):
    """The step: what it refuses, it refuses before anything has changed."""

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
    _rows: Rows | None = None
    """What kernels have taken of parameters and states; made when a step first needs it."""

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
            RuntimeError: a gradient is sparse (of any layout but strided), complex or of another
                shape than its parameter, or a parameter became so since it was added; real
                parameters have complex gradients only where their `grad_dtype` allows it. Or a
                parameter was cast to or from float64 since its first step. Nothing has changed.
            ValueError: the learning rate is above its peak (see `gamma`) or no number, a group has
                a weight_decay, or a parameter became float64, which has no codes; nothing has
                changed.
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
        if self.clip is not None:  # compiled closures may ask, and not set
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

    def forget_tensors(self) -> None:
        """Let go of the states that were: others have taken their place."""
        vars(self).pop("_rows", None)

    def bring_states_home(self) -> None:
        """Move the state tensors of all parameters to where they are kept now."""
        self.forget_tensors()
        for p in (p for group in self.param_groups for p in group["params"] if p in self.state):
            for name, x in self.state[p].items():
                if name != STEP and isinstance(x, Tensor):
                    self.state[p][name] = x.to(self.home(p))

    @torch._disable_dynamo  # torch.compiler.disable would import the compiler here and now
    def _plan(self, packed: bool, chosen: Sequence[Chosen] | None = None) -> list[Work]:
        """Advance the counters and return what is to be done, nothing of it done yet.

        With `packed` the numbers come as tensors, so that compiled code is valid at every step.
        Of all parameters, unless some are `chosen`.
        """
        if chosen is None:
            chosen = [(group, group["params"]) for group in self.param_groups]
        ready = [self._ready(group, some) for group, some in chosen]  # before any counter has moved
        scaling = scaling_of(self, self.clip)
        self.clip = None
        if scaling.skip is True:
            if self.watch is not None:
                self.watch.skip()
            return []
        keys = self._keys(packed)
        plan = []
        for each in ready:
            self._advance(each)
            for some, hyper in self._numbers(each, packed):
                work = Work(
                    some.group, some.params, some.grads, some.states, hyper, keys(some),
                    owners=some.params,
                )  # fmt: skip
                plan.append(scaling.of(work))
                if packed:  # compiled code never sees telemetry
                    self.observe(plan[-1])
        return plan

    def _ready(self, group: dict[str, Any], some: Sequence[Tensor]) -> _Ready:
        """Return what has a gradient; raise for what the update does not work on.

        And for a learning rate above its peak.
        """
        self.gamma(group)
        owner, host = type(self).__name__, self.host
        if written := group.get("weight_decay"):
            advice = no_weight_decay(written, self.peak(group), group["total_steps"])
            raise ValueError(f"something has written weight_decay into a group; {owner} {advice}")
        ready = _Ready(group, [], [], [])
        if len(set(map(id, some))) < len(some):  # torch warned of it; nothing is updated twice
            some = list(dict.fromkeys(some))
        for p in some:
            g = p.grad if host is None else host.gradient(p)
            if g is None:
                continue
            if host is None or not host.gradients:  # which were looked at as they came
                refuse_gradient(owner, p, g)
            state = self.state.get(p)  # `state[p]` would make one
            if not state:  # it may have another dtype than when it was added
                self.check_codes(group, p)
            else:
                refuse_cast(p, kept_dtype(state))
            ready.params.append(p)
            ready.grads.append(g)
            ready.states.append(state or {})
        return ready

    def _advance(self, ready: _Ready) -> None:
        """Count a step of these parameters; those without a state get one."""
        group, params, _, states = ready
        if not params:
            return
        capturable, beside = group["capturable"], WEIGHTS[group["bf16_weights"]].parts()
        for i, p in enumerate(params):
            if not states[i]:
                parts = self.stored(group, p)
                states[i] = self.state[p]
                states[i].update(new_state(p, parts, self.home(p), capturable=capturable))
            elif beside:
                match_parts(states[i], group, p, self.home(p))
        steps = [state[STEP] for state in states]
        if capturable:
            torch._foreach_add_(steps, 1)
        else:  # torch would make a tensor of the number anew for each of them
            torch._foreach_add_(steps, torch.ones_like(steps[0]), alpha=1)

    def _keys(self, packed: bool) -> Callable[[_Ready], list[Keys]]:
        """Return what gives the keys of the random bits of this step, if it needs any."""
        valid: Streams | None = None

        def keys(some: _Ready) -> list[Keys]:
            nonlocal valid
            group, params = some.group, some.params
            if not is_coded(group, params[0]):
                return []
            if valid is None:  # once a step, which would be slow for many groups otherwise
                self._streams = self._streams or Streams()
                valid = self._streams.of(self.param_groups)
            steps = [state[STEP] for state in some.states]
            if group["capturable"]:  # the counters may not be read
                return valid.keys_on_device(group, params, steps)
            return valid.keys(group, params, count_of(steps[0]), as_tensors=packed)

        return keys

    def _numbers(self, ready: _Ready, packed: bool) -> Iterable[tuple[_Ready, Hyper | Tensor]]:
        """Yield what can be updated together, with the numbers of its step."""
        group = ready.group
        together: dict[Any, list[int]] = defaultdict(list)
        for i, (p, state) in enumerate(zip(ready.params, ready.states, strict=True)):
            t = 0 if group["capturable"] else count_of(state[STEP])
            together[t, tuple(state), p.dtype, p.device].append(i)
        for (t, _, _, device), which in together.items():
            some = ready if len(together) == 1 else ready.chosen(which)
            if group["capturable"]:
                yield some, self._numbers_on_device(some)
            else:
                h = self.hyper(group, t)
                # Not as the state is kept: codes are integers.
                like = torch.empty((), dtype=working_dtype(some.params[0]), device=device)
                yield some, h.packed(like) if packed else h

    def _numbers_on_device(self, ready: _Ready) -> Tensor:
        """Return a row of numbers for each parameter, computed on its device without waiting."""
        t = torch.stack([state[STEP] for state in ready.states]).to(torch.float64)
        columns = [
            x.to(t).expand_as(t) if isinstance(x, Tensor) else torch.full_like(t, x)
            for x in self.hyper(ready.group, t)
        ]
        return torch.stack(columns, dim=1).to(working_dtype(ready.params[0]))

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
        self._rows = self._rows or Rows()
        return update_fused(
            work,
            self.rule,
            self.form(work.group),
            self.state_names(work.group, p),
            self._rows.of(work, self.stored(work.group, p)),
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

    @torch._disable_dynamo
    def observe(self, work: Work) -> None:
        """Tell a watch what the update will do, before it does: nothing changes."""
        watch = self.watching
        if watch is not None:
            for i, p in enumerate(work.owners):
                watch.add([p], added_up(self.look(work, i), work.skip))

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


def _as_dtype(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the tensors in `dtype`: the same list where they have it."""
    if all(x.dtype == dtype for x in tensors):
        return tensors
    return [x.to(dtype) for x in tensors]
