"""Log-time Muon: ADana whose steps on matrices are orthogonalised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from adana.checks import check_flag, check_integer, check_range
from adana.dtensors import as_part_of, is_dtensor, local, whole
from adana.newton_schulz import NORM_EPS, NS_STEPS, RMS_SCALE, iterate, step_size
from adana.optim.coded import decoded, in_full, is_coded
from adana.optim.damped import DampedArguments, DampedMomentum, Source
from adana.optim.update import Hyper, step_factor
from adana.optim.work import Work, numbers_of, on_this_process


class LogMuon(DampedMomentum):
    r"""Muon with log-time momentum for matrices, ADana for everything else.

    On a matrix, at step t (from 1), with :math:`a_t = \delta / (\delta + t)`::

        m <- m + a_t (g - m)
        x  = g + momentum_scale * (1 + t)^(1 - kappa) * m              damped Nesterov
        p <- p - gamma(t) * omega / (decay_offset + t) * p
               - lr * rms_scale * sqrt(max(rows, columns)) * orthogonal(x)

    where `orthogonal` is Muon's Newton-Schulz iteration. All other parameters get `ADana`'s update
    with the same hyperparameters, and so do parameters of a matrix group with fewer than two
    dimensions. Tensors with more than two are matrices of their first dimension by the rest, as
    convolution kernels are. With `stack_dims: 1` in its group, a tensor is a stack of matrices, one
    for each index of its first dimension (experts kept as one tensor): each is orthogonalised by
    itself.

    Args:
        params: groups, each saying `muon: True` (matrices) or `muon: False`.
            `adana.param_groups(model, muon=True)` makes them: hidden matrices against embeddings,
            head, gains and biases; with `stacks=`, stacks of matrices in a group of their own.
        lr: peak learning rate. Both kinds of group may have their own. No law was published.
        muon: what groups are that do not say so. Default None: such a group is an error, because
            embeddings and heads are matrices too, but should not be orthogonalised.
        ns_steps: Newton-Schulz iterations, an integer >= 1. Default 5.
        stack_dims: leading dimensions of groups with `muon: True` that count matrices, an integer
            >= 0. Default 0.
        rms_scale: size of a step, see above. Default 0.2 (RMS of about 0.19).
        shared: all other arguments of `ADana`, with the same defaults; only variant="paper" exists:
            decay is independent of the learning rate and before the update for matrices too, the
            time base is 1 + t, and the counter counts steps. The authors' hybrid differs in all
            three, and has Dana-Star-MK4 in the place of ADana (spec/optimizers.md section 10).

    Raises:
        ValueError, RuntimeError, TypeError: as for `ADana`.

    State: 1 float32 tensor of the parameter's shape for matrices, 2 for the rest. A sharded matrix
    (FSDP2, tensor parallel) is gathered for the iteration, which every rank then does.
    """

    VARIANTS: ClassVar[dict[str, Source]] = {
        "paper": Source(extra_momentum=0.0, decay_order="before")
    }
    DEFAULTS: ClassVar[dict[str, Any]] = {
        **DampedMomentum.DEFAULTS,
        "muon": None,
        "ns_steps": NS_STEPS,
        "rms_scale": RMS_SCALE,
        "stack_dims": 0,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        muon: bool | None = None,
        ns_steps: int = NS_STEPS,
        rms_scale: float = RMS_SCALE,
        stack_dims: int = 0,
        **shared: Unpack[DampedArguments],
    ) -> None:
        own = {"muon": muon, "ns_steps": ns_steps, "rms_scale": rms_scale, "stack_dims": stack_dims}
        super().__init__(params, lr, **own, **shared)

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        super().check_group(group)
        if group["muon"] is None:
            raise ValueError(
                "LogMuon must know which parameters are matrices of hidden layers: pass "
                "adana.param_groups(model, muon=True), or groups with 'muon': True or False"
            )
        check_flag("muon", group["muon"])
        check_integer("ns_steps", group["ns_steps"], low=1)
        check_range("rms_scale", group["rms_scale"], low=0.0, low_open=True)
        check_integer("stack_dims", group["stack_dims"], low=0)

    def state_names(self, group: Mapping[str, Any], p: Tensor) -> tuple[str, ...]:
        """Return the names of the state tensors of parameter `p`, each of its shape."""
        return ("m",) if self.orthogonalised(group, p) else super().state_names(group, p)

    @staticmethod
    def orthogonalised(group: Mapping[str, Any], p: Tensor) -> bool:
        """Return whether the steps of `p` are orthogonalised."""
        return bool(group["muon"]) and p.ndim >= 2 + group["stack_dims"] and p.numel() > 0

    def update(self, work: Work) -> None:
        """Update the parameters of `work` and their states in place."""
        if not self.orthogonalised(work.group, work.owners[0]):
            super().update(work)
            return
        if not torch.compiler.is_compiling():
            self.observe(work)
        names = self.stored(work.group, work.owners[0])
        if is_coded(work.group, work.params[0]):
            for i, p in enumerate(work.owners):
                for wide in decoded(work, i, names, whole=True):
                    self._update_matrix(p, wide, 0)
            return
        mine = on_this_process(work, names)
        for i, p in enumerate(work.owners):
            self._update_matrix(p, mine, i)

    def look(self, work: Work, i: int) -> Mapping[str, Tensor]:
        """Return what telemetry sees of the elements of the i-th parameter."""
        p = work.owners[i]
        if not self.orthogonalised(work.group, p):
            return super().look(work, i)
        names = self.stored(work.group, p)
        if is_coded(work.group, p):
            m = in_full(work, i, names)[1]["m"]
        else:
            m = local(work.states[i]["m"])
        h = numbers_of(work.hyper, i)
        g = _gradient(on_this_process(work, names), i, m, h)
        m = m.lerp(g, h.ema_m)
        step, size = _step(p, g, m, h, work.group)
        return {"g": g.square(), "u": (step * size).square(), "m": m.square()}

    def _update_matrix(self, p: Tensor, work: Work, i: int) -> None:
        """Update the matrix `p`, of which `work` has this process's part as its i-th.

        Parameters narrower than m are rounded once.

        m <- m + ema_m (g - m);  x = grad * g + momentum * m
        p <- p - decay * p - lr * rms_scale * sqrt(max(rows, columns)) * orthogonal(x)
        """
        group, h, form = work.group, numbers_of(work.hyper, i), self.form(work.group)
        mine, average = work.params[i], work.states[i]["m"]
        skip, before = work.skip, (mine, average)
        if skip is not None:
            before = (mine.clone(), average.clone())
        g = _gradient(work, i, average, h)
        average.lerp_(g, h.ema_m)
        step, size = _step(p, g, average, h, group)
        target = mine.to(average.dtype)
        change = step * (step_factor(h, form) * size)
        target.sub_(target * h.decay + change) if form.decay else target.add_(change)
        if target is not mine:
            mine.copy_(target)
        if skip is not None:
            mine.copy_(before[0].where(skip, mine))
            average.copy_(before[1].where(skip, average))


def _gradient(work: Work, i: int, m: Tensor, h: Hyper) -> Tensor:
    """Return the i-th gradient of `work` as the average `m` takes it."""
    g = work.grads[i].to(m.dtype)
    return g * h.scale if work.scaled else g


def _step(
    p: Tensor, g: Tensor, m: Tensor, h: Hyper, group: Mapping[str, Any]
) -> tuple[Tensor, float]:
    """Return this process's part of the orthogonalised step of `p`, and its factor.

    The iteration runs on the device of `p`, wherever `g` and `m` are.
    """
    x = g * h.grad + m * (h.momentum + h.extra)
    stack_dims = group["stack_dims"]
    rows, *columns = p.shape[stack_dims:]
    size = step_size(rows, math.prod(columns), group["rms_scale"])
    step = _part(orthogonal(_whole(x.to(p.device), p), group["ns_steps"], stack_dims), p)
    return step.to(x.device), size


def orthogonal(x: Tensor, steps: int = NS_STEPS, stack_dims: int = 0) -> Tensor:
    """Return x with its singular values brought close to 1 by Newton-Schulz iterations.

    They end between about 0.7 and 1.2, which is close enough for a step and much cheaper than a
    singular value decomposition (Muon; spec/optimizers.md section 9). float64 stays float64;
    everything else is computed in bfloat16 on a GPU and in float32 elsewhere. The first
    `stack_dims` dimensions count matrices; more than two of the others are folded into the columns.
    """
    matrix = x.reshape(*x.shape[: stack_dims + 1], -1)
    wide = matrix.shape[-2] <= matrix.shape[-1]
    y = matrix if wide else matrix.mT
    if x.dtype != torch.float64:
        y = y.to(torch.bfloat16 if x.device.type == "cuda" else torch.float32)
    y = y / (torch.linalg.matrix_norm(y, keepdim=True) + NORM_EPS)
    for _ in range(steps):
        y = iterate(y)
    return (y if wide else y.mT).reshape(x.shape).to(x.dtype)


def _whole(x: Tensor, p: Tensor) -> Tensor:
    """Return the whole of a tensor of which `x` is this process's part, laid out as `p` is."""
    return whole(as_part_of(p, x))


def _part(x: Tensor, p: Tensor) -> Tensor:
    """Return this process's part of a tensor that every process holds whole."""
    if not is_dtensor(p):
        return x
    from torch.distributed.tensor import DTensor, Replicate  # noqa: PLC0415

    everywhere = [Replicate()] * p.device_mesh.ndim
    replicated = DTensor.from_local(x, p.device_mesh, everywhere, run_check=False)
    return replicated.redistribute(p.device_mesh, p.placements).to_local()
