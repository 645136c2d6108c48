"""The optimizers by name: how each is built from a configuration, and what it does at a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from adana import optim, schedules
from adana.optim import ABLATIONS, AblatedADana, LogTimeOptimizer, param_groups
from adana.optim.update import TAU_CAP
from adana.train.config import OPTIONAL, OptimizerConfig
from adana.train.entry import HYPERPARAMETERS, OptimizerEntry, coupled_decay
from adana.train.installed import blaming, code_of, installed, load, package_of
from adana.train.muon import MuonWithAdamW


def _adamw(model: nn.Module, config: OptimizerConfig, steps: int) -> torch.optim.Optimizer:
    decay, own = coupled_decay(config, steps), _adamw_arguments(config)
    return torch.optim.AdamW(param_groups(model), lr=config.lr, weight_decay=decay, **own)


def _muon(model: nn.Module, config: OptimizerConfig, steps: int) -> torch.optim.Optimizer:
    decay, own = coupled_decay(config, steps), _adamw_arguments(config)
    return MuonWithAdamW(model, config.lr, decay, own)


def _adamw_arguments(config: OptimizerConfig) -> dict[str, Any]:
    return {"betas": schedules.BETAS, "eps": schedules.EPS, **_given(config, _ADAMW_READS)}


_ADAMW_READS = ("beta1", "beta2", "eps")


def _given(config: OptimizerConfig, reads: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a class for the fields it reads, without those left to its default.

    `beta1` and `beta2` are the class's `betas`.
    """
    own = {name: getattr(config, name) for name in reads if getattr(config, name) is not None}
    betas = {f"beta{i}": beta for i, beta in enumerate(schedules.BETAS, start=1)}
    if own.keys() & betas.keys():
        own["betas"] = tuple(own.pop(name, default) for name, default in betas.items())
    return own


def _member(
    cls: type[LogTimeOptimizer],
    summary: str,
    **fixed: Any,
) -> OptimizerEntry:
    """Return the entry of a class of the family, with `fixed` arguments."""
    decay = fixed.get("decay", cls.DEFAULTS["decay"])
    takes = set(cls.DEFAULTS) - {"beta2"}  # that of an ablation is what it ablates
    takes |= {"beta1", "beta2"} if "betas" in cls.DEFAULTS else set()
    reads = tuple(n for n in HYPERPARAMETERS if n in takes and n not in fixed)

    def build(model: nn.Module, config: OptimizerConfig, steps: int) -> torch.optim.Optimizer:
        own = _given(config, reads)
        groups = param_groups(model, muon="muon" in cls.DEFAULTS)
        arguments = {"omega": config.omega, "total_steps": steps, **own, **fixed}
        if config.state_dtype is not None:
            arguments["state_dtype"] = config.state_dtype
        return cls(groups, config.lr, **arguments)

    return OptimizerEntry(build, summary, reads, decay=decay, coded=True)


_ABLATIONS = {
    "log-adamw": "ablation: log-time betas alone, no gradient term",
    "log-nadamw": "ablation: undamped momentum delta + t; expected to diverge",
    "log-nadamw-nesterov": "ablation: undamped momentum (delta + t)/delta",
    "adana-no-gradient": "ablation: no gradient term (the paper's run: --kappa 0.75)",
    "adana-short-average": "ablation: a short average in place of the gradient",
    "adana-constant-beta2": "ablation: constant beta2 = 0.999",
    "adana-constant-alpha": "ablation: constant momentum multiplier --momentum-scale",
    "dana-figure-5": "ablation: alpha(t) = momentum-scale (1 + t), constant beta2",
}

OPTIMIZERS: dict[str, OptimizerEntry] = {
    "adamw": OptimizerEntry(
        _adamw,
        "torch.optim.AdamW, betas (0.9, 0.999), weight_decay = omega/(lr T)",
        _ADAMW_READS,
        decay="coupled",
    ),
    "muon": OptimizerEntry(
        _muon,
        "torch.optim.Muon on matrices, torch.optim.AdamW on the rest, weight_decay as adamw's",
        _ADAMW_READS,
        decay="coupled",
    ),
    "adamw-log-decay": _member(optim.LogAdamW, "AdamW with log-time weight decay omega/(T/10 + t)"),
    "adana": _member(optim.ADana, "ADana, the published formula"),
    "adana-released": _member(
        optim.ADana, "ADana as in the authors' released code", variant="released"
    ),
    "dana-mk4": _member(optim.DanaMK4, "ADana with an SNR clip on the momentum"),
    "dana-star": _member(optim.DanaStar, "ADana with the activity estimate tau"),
    "dana-star-released": _member(
        optim.DanaStar, "Dana-Star as in the authors' released code", variant="released"
    ),
    "dana-star-mk4": _member(optim.DanaStarMK4, "Dana-Star with the SNR clip"),
    "ademamix": _member(
        optim.AdEMAMix, "AdEMAMix, warm-ups over T, decay omega/T", decay="constant"
    ),
    "ademamix-log-decay": _member(
        optim.AdEMAMix, "AdEMAMix with log-time weight decay", decay="log-time"
    ),
    "log-ademamix": _member(optim.LogAdEMAMix, "AdEMAMix with log-time schedules, no horizon"),
    "log-muon": _member(optim.LogMuon, "log-time Muon on matrices, ADana on the rest"),
    **{name: _member(AblatedADana, text, **ABLATIONS[name]) for name, text in _ABLATIONS.items()},
}


def optimizer_names() -> list[str]:
    """Return the names of all optimizers, those of this package first; imports nothing."""
    return list(dict.fromkeys((*OPTIMIZERS, *installed())))


def optimizer_entry(name: str) -> OptimizerEntry:
    """Return the optimizer called `name`, of this package or of another that is installed.

    Raises:
        ValueError: the name is unknown (all known ones are listed), is brought by another package
            though it is one of this one, or that package's entry cannot be imported or is none.
    """
    point = installed().get(name)
    if name in OPTIMIZERS:
        if point is not None:
            raise ValueError(
                f"the package {package_of(point)} brings an optimizer {name!r}, which is the name "
                "of one of adana's own; uninstall it, or give its optimizer another name"
            )
        return OPTIMIZERS[name]
    if point is None and name.partition(":")[0] in OPTIMIZERS:
        raise ValueError(
            f"{name!r}: an optimizer with values of its own is for what compares several; here "
            f"name it {name.partition(':')[0]} and give them as flags"
        )
    if point is None:
        known = [f"  {key:20} {own.summary}" for key, own in OPTIMIZERS.items()]
        known += [f"  {key:20} of {package_of(other)}" for key, other in installed().items()]
        listed = "\n".join(known)
        raise ValueError(
            f"unknown optimizer {name!r}, expected one of\n{listed}\n"
            "One of your own: docs/own-optimizer.md"
        )
    found = load(name)
    if not isinstance(found, OptimizerEntry):
        raise ValueError(
            f"the optimizer {name!r} of the package {package_of(point)} is to be an "
            f"adana.train.OptimizerEntry, but {point.value} is a {type(found).__name__}"
        )
    return found


def build_optimizer(model: nn.Module, config: OptimizerConfig, steps: int) -> torch.optim.Optimizer:
    """Build the optimizer of `config` for a run of `steps` steps.

    Raises:
        ValueError: the name is unknown, a hyperparameter is out of range, one was given that this
            optimizer does not have, the configuration was made for other code of it, or it does
            not hold all of the model's parameters.
        TypeError: what an installed package built is no `torch.optim.Optimizer`.
    """
    refuse_other_code(config)
    _refuse_optional(config, config.name)
    own = optimizer_entry(config.name)
    absent: dict[str, Any] = {k: v for k, v in own.defaults.items() if getattr(config, k) is None}
    with blaming(config.name):
        optimizer = own.build(model, dataclasses.replace(config, **absent), steps)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"the builder of {config.name!r} returned a {type(optimizer).__name__}, expected a "
            "torch.optim.Optimizer"
        )
    _check_holds_all(optimizer, model, config.name)
    return optimizer


def refuse_other_code(config: OptimizerConfig) -> None:
    """Raise `ValueError` where a configuration was made for other code than is installed."""
    if config.code is None:
        return
    point = installed().get(config.name)
    if point is None:
        raise ValueError(
            f"the optimizer {config.name!r} of this configuration is of a package that is not "
            "installed; environment.json beside its config.json has the package's name and "
            "version. Install it"
        )
    if config.code != code_of(config.name):
        raise ValueError(
            f"the code of the optimizer {config.name!r} has changed since this configuration was "
            f"made: then {config.code}, now, of {package_of(point)}, {code_of(config.name)}. "
            "Changed code is another run: start the command again if it was running meanwhile, or "
            "train anew in place of --config or a trunk"
        )


def _check_holds_all(optimizer: torch.optim.Optimizer, model: nn.Module, name: str) -> None:
    """Raise `ValueError` unless the optimizer holds the model's trainable parameters, each once."""
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    names = {id(p): each for each, p in model.named_parameters() if p.requires_grad}
    missing = [each for key, each in names.items() if key not in held]
    if missing:
        raise ValueError(
            f"the optimizer {name!r} was built without {len(missing)} of the model's parameters: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. It must hold all of "
            "them, or clipping and comparisons are not those of the others; what is not to be "
            "trained must not require gradients"
        )
    if len(set(held)) < len(held):
        raise ValueError(f"the optimizer {name!r} was built with a parameter in it twice")


def refuse_unread(config: OptimizerConfig, *names: str) -> None:
    """Raise `ValueError` if a hyperparameter was given that none of these optimizers reads.

    One that some of them read is for those: a comparison passes it to them alone. Of those that
    every configuration has (kappa, delta, momentum_scale), the default changes nothing, and printed
    commands have it: another value was given.
    """
    _refuse_optional(config, *names)
    default = OptimizerConfig(config.name, config.lr)
    for field in HYPERPARAMETERS:
        if field not in OPTIONAL and getattr(config, field) != getattr(default, field):
            _refuse_field(config, field, names)


def _refuse_optional(config: OptimizerConfig, *names: str) -> None:
    """Do it for the fields that are absent unless they were given."""
    if config.state_dtype is not None and not any(optimizer_entry(name).coded for name in names):
        raise ValueError(
            f"state_dtype {config.state_dtype} was given, but {' and '.join(names)} "
            f"{'keeps its' if len(names) == 1 else 'keep their'} states as torch does. Leave it "
            "out, or take ADana or one of its relatives."
        )
    for field in OPTIONAL:
        if getattr(config, field) is not None:
            _refuse_field(config, field, names)


def _refuse_field(config: OptimizerConfig, field: str, names: Sequence[str]) -> None:
    """Raise `ValueError` if none of these optimizers reads a field that was given."""
    if any(field in optimizer_entry(name).reads for name in names):
        return
    readers = ", ".join(name for name, known in OPTIMIZERS.items() if field in known.reads)
    raise ValueError(
        f"{field} {getattr(config, field):g} was given, but {' and '.join(names)} "
        f"{'does' if len(names) == 1 else 'do'} not read it. "
        f"Leave it out, or take one that does: {readers}"
    )


def set_gamma(optimizer: torch.optim.Optimizer, peak_lr: float, gamma: float) -> None:
    """Set the learning rate of every group to `peak_lr * gamma`."""
    for group in optimizer.param_groups:
        group["lr"] = peak_lr * gamma


def schedule_values(optimizer: torch.optim.Optimizer, gamma: float, t: int) -> dict[str, float]:
    """Return what the optimizer uses at step t (from 1) for its first (decayed) group.

    Keys: gamma, lr; ema_m and ema_v (what either moment forgets in the step, which in an average is
    the weight of the newest gradient); momentum (multiplier on m); decay (fraction of a weight
    removed in the step).

    The Star members' momentum differs between coordinates: it is that of a coordinate whose
    gradient always has the same size (tau = 1/2, so effective time is t/2). Rarer ones have less.

    Of an optimizer that is not of this package, what its group tells: gamma and lr always; decay
    where it has `weight_decay` (lr * weight_decay, which is what AdamW, Muon and SGD without
    momentum remove); ema_m and ema_v from `betas`, ema_m from `momentum`; momentum for Adam and
    AdamW, where it is the bias correction.
    """
    group = optimizer.param_groups[0]
    if isinstance(optimizer, LogTimeOptimizer):
        values = _of_member(optimizer, group, t)
    else:
        values = _of_other(optimizer, group, t)
    return {"gamma": gamma, "lr": float(group["lr"]), **values}


def _of_member(optimizer: LogTimeOptimizer, group: dict[str, Any], t: int) -> dict[str, float]:
    h = optimizer.hyper(group, t)
    growth = 1.0
    if optimizer.form(group).tau:
        effective_time = max(TAU_CAP * t, 1.0)
        growth = schedules.effective_damping(effective_time, 1 - h.exponent, h.shift)
    values = {"ema_m": h.ema_m, "ema_v": h.ema_v, "decay": h.decay}
    values["momentum"] = h.momentum * growth + h.extra
    return {name: float(value) for name, value in values.items()}


def _of_other(optimizer: torch.optim.Optimizer, group: dict[str, Any], t: int) -> dict[str, float]:
    values: dict[str, float] = {}
    if "weight_decay" in group:
        values["decay"] = float(group["lr"]) * float(group["weight_decay"])
    if "momentum" in group:
        values["ema_m"] = 1 - float(group["momentum"])
    betas = group.get("betas")
    if isinstance(betas, tuple | list) and len(betas) >= 2:
        beta1, beta2 = (float(beta) for beta in betas[:2])
        values |= {"ema_m": 1 - beta1, "ema_v": 1 - beta2}
        if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
            values["momentum"] = 1 / schedules.constant_total_weight(t, beta1)
    return values


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the optimizer's state tensors; of sharded ones, over all ranks."""
    return sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in tree_leaves(state)
        if isinstance(value, torch.Tensor)
    )
