"""LogMuon taken apart: what of it is the decay, what ADana for the rest, what the momentum?

Optimizers of your own for `adana train`, `compare`, `tune` and `ladder run`: the entry points in
pyproject.toml say which names this module brings (docs/own-optimizer.md).

    pip install -e examples/own_optimizer
    adana compare muon muon-log-decay log-muon --sweep-lr 5 \\
        --lr muon=0.016 muon-log-decay=0.016 log-muon=0.032
"""

import torch

import adana
from adana.train import OptimizerEntry


class Both(torch.optim.Optimizer):
    """One optimizer for the matrices of hidden layers and another for the rest, as one."""

    def __init__(self, matrices, rest):
        self.parts = (matrices, rest)
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure=None):
        """Step with both parts."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        groups = iter(self.param_groups)
        for part in self.parts:  # loading a checkpoint replaces groups and state
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state
            part.step()
        return loss


def split(model):
    """Return the groups of hidden matrices, and the other groups."""
    groups = adana.param_groups(model, muon=True)
    return [g for g in groups if g["muon"]], [g for g in groups if not g["muon"]]


def muon(groups, config, steps):
    """Torch's Muon as in adana's baseline, with log-time decay."""
    own = torch.optim.Muon(groups, config.lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    return adana.with_log_time_decay(own, omega=config.omega, total_steps=steps)


def build_muon_log_decay(model, config, steps):
    """Only the decay differs from the baseline `muon`."""
    matrices, rest = split(model)
    adamw = adana.LogAdamW(rest, config.lr, omega=config.omega, total_steps=steps)
    return Both(muon(matrices, config, steps), adamw)


def build_muon_log_decay_adana(model, config, steps):
    """And ADana for the rest: only the momentum of matrices differs from `log-muon`."""
    matrices, rest = split(model)
    rest = adana.ADana(rest, config.lr, omega=config.omega, total_steps=steps)
    return Both(muon(matrices, config, steps), rest)


def build_log_muon_adamw(model, config, steps):
    """The momentum of matrices is LogMuon's, all else that of `muon-log-decay`."""
    matrices, rest = split(model)
    adamw = adana.LogAdamW(rest, config.lr, omega=config.omega, total_steps=steps)
    return Both(adana.LogMuon(matrices, config.lr, omega=config.omega, total_steps=steps), adamw)


muon_log_decay = OptimizerEntry(
    build_muon_log_decay, "torch's Muon and AdamW, log-time decay", decay="log-time"
)
muon_log_decay_adana = OptimizerEntry(
    build_muon_log_decay_adana, "torch's Muon, ADana for the rest, log-time decay", decay="log-time"
)
log_muon_adamw = OptimizerEntry(
    build_log_muon_adamw, "log-time Muon, AdamW for the rest, log-time decay", decay="log-time"
)
