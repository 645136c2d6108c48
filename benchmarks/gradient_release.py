"""Memory and time of a training step with and without released gradients.

    python benchmarks/gradient_release.py [--heads 12] [--layers 12] [--vocab 50304] [--tokens 128]
        [--rounds 3] [--threads 1] [--device cpu]

A step is forward, backward, the optimizer's step and zero_grad, for one sequence. The model is an
Enoki transformer of GPT-2 small's width and depth (its head is not tied). Printed are the bytes of
weights and state, which stay; the most bytes allocated at once during a step beyond them; the most
bytes of gradients at a time; and the median time, of this process's CPUs on the CPU and of the
clock on a GPU. Every way gets a new model, one after another.
"""

from __future__ import annotations

import argparse
import statistics
import time
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

import adana
from adana.nn import EnokiConfig, build_model
from steps.measure import peak_bytes, state_bytes

MIB = 2**20


class AliveGradients:
    """Counts the bytes of gradients that exist at a time."""

    def __init__(self, model: nn.Module):
        self.alive: dict[Tensor, int] = {}
        self.most = 0
        for p in model.parameters():
            p.register_post_accumulate_grad_hook(self._see)

    def _see(self, p: Tensor) -> None:
        if p.grad is not None and p not in self.alive:
            self.alive[p] = p.grad.nbytes
            weakref.finalize(p.grad, self.alive.pop, p)
            self.most = max(self.most, sum(self.alive.values()))


def ways(model: nn.Module) -> dict[str, Callable[[], torch.optim.Optimizer]]:
    groups = adana.param_groups(model)

    def released() -> torch.optim.Optimizer:
        optimizer = adana.ADana(groups, lr=1e-3, total_steps=1000)
        adana.release_gradients(optimizer)
        return optimizer

    return {
        "AdamW foreach": lambda: torch.optim.AdamW(model.parameters(), foreach=True),
        "AdamW fused": lambda: torch.optim.AdamW(model.parameters(), fused=True),
        "ADana": lambda: adana.ADana(groups, lr=1e-3, total_steps=1000),
        "ADana, released": released,
    }


def measure(way: str, args: argparse.Namespace) -> str:
    """Return the line of the table of one way."""
    config = EnokiConfig(heads=args.heads, layers=args.layers, vocab_size=args.vocab,
                         sequence_length=args.tokens)  # fmt: skip
    model = build_model(config).to(args.device)
    gradients = AliveGradients(model)
    optimizer = ways(model)[way]()
    tokens = torch.randint(args.vocab, (1, args.tokens + 1), device=args.device)

    def step() -> None:
        logits = model(tokens[:, :-1])
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        del logits
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the state
    gradients.most = 0
    peak = peak_bytes(step, args.device)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    times = []
    for _ in range(args.rounds):
        start = clock()
        step()
        if args.device != "cpu":
            torch.cuda.synchronize()
        times.append(clock() - start)
    weights = sum(p.nbytes for p in model.parameters())
    state = state_bytes(optimizer)
    return (f"{way:18}{weights / MIB:9.0f}{state / MIB:9.0f}{peak / MIB:9.0f}"
            f"{gradients.most / MIB:11.0f}{(weights + state + peak) / MIB:9.0f}"
            f"{statistics.median(times):10.2f}{min(times):9.2f}{max(times):6.2f}")  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("heads", 12), ("layers", 12), ("vocab", 50_304), ("tokens", 128),
                          ("rounds", 3), ("threads", 1)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    where = torch.cuda.get_device_name() if args.device != "cpu" else f"{args.threads} CPU threads"
    print(f"{args.tokens} tokens, {where}, torch {torch.__version__}; MiB")
    print(f"{'':18}{'weights':>9}{'state':>9}{'a step':>9}{'gradients':>11}{'total':>9}"
          f"{'seconds':>10}{'range':>15}")  # fmt: skip
    for way in ways(nn.Linear(1, 1)):
        print(measure(way, args), flush=True)


if __name__ == "__main__":
    main()
