"""Short trainings whose every step depends on all that came before."""

import torch


def loss_of(params, step, scale=1.0):
    """A loss whose gradients reach every parameter and depend on all that came before."""
    total = torch.zeros(()).to(params[0].device)
    for i, p in enumerate(params):
        generator = torch.Generator().manual_seed(1000 * step + i)
        weights = torch.randn(p.shape, generator=generator).to(p.device)
        total = total + scale * ((p.float() - weights).square() * (1 + i)).sum()
    return total


def train(optimizer, params, steps, *, start=0, scheduler=None, before_step=None):
    """Train as everybody does."""
    for step in range(start, start + steps):
        loss_of(params, step).backward()
        if before_step:
            before_step(optimizer)
        optimizer.step()
        optimizer.zero_grad()
        if scheduler:
            scheduler.step()


def train_by_closures(optimizer, params, steps):
    """Train with a closure, and return the losses that the steps return."""
    losses = []
    for step in range(steps):

        def closure(step=step):
            optimizer.zero_grad()
            loss = loss_of(params, step)
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
    return losses
