"""Memory of the device and time of a training step with and without states on the host.

    python benchmarks/offload.py [--heads 12] [--layers 12] [--vocab 50304] [--tokens 128]
        [--rounds 5] [--threads 0] [--device cuda] [--dtype float32] [--ways ...]

A step is forward, backward, the optimizer's step and zero_grad, for one sequence. The model is an
Enoki transformer of GPT-2 small's width and depth (its head is not tied). Every way gets a new
model, one after another. Printed are, in bytes of the device for each parameter, what is held
between steps and the most that is allocated during one; the median time of a whole step and of the
part between its backward and its end (of the clock, when the device is done).

On the CPU there is nothing to win: states are in the same memory, and "kept" counts them too. There
the ways with "copies" travel from memory to memory, as they would to a device, so that the time of
those copies can be read off; and times are those of this process's CPUs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import adana
from adana.nn import EnokiConfig, build_model
from adana.optim.offload import OffloadedStates
from steps.measure import peak_bytes, state_bytes

Attach = Callable[[Any], object]
WAYS: dict[str, Attach] = {
    "on the device": lambda optimizer: None,
    "states": adana.offload_states,
    "states, gradients": lambda optimizer: adana.offload_states(optimizer, gradients=True),
    "states, released": lambda optimizer: (
        adana.offload_states(optimizer),
        adana.release_gradients(optimizer),
    ),
}
COPIES: dict[str, Attach] = {
    "states, copies": lambda optimizer: OffloadedStates(optimizer, copies=True),
    "gradients, copies": lambda optimizer: OffloadedStates(optimizer, gradients=True, copies=True),
}


class Training:
    """One model and its optimizer, whose states are kept in one way."""

    def __init__(self, attach: Attach, args: argparse.Namespace) -> None:
        self.args = args
        config = EnokiConfig(heads=args.heads, layers=args.layers, vocab_size=args.vocab,
                             sequence_length=args.tokens)  # fmt: skip
        self.model = build_model(config).to(args.device, getattr(torch, args.dtype))
        groups = adana.param_groups(self.model)
        self.optimizer = adana.ADana(groups, lr=1e-3, total_steps=1000)
        attach(self.optimizer)
        self.tokens = torch.randint(args.vocab, (1, args.tokens + 1), device=args.device)

    def backward(self) -> None:
        """Make the gradients of a step."""
        logits = self.model(self.tokens[:, :-1]).flatten(0, 1)
        nn.functional.cross_entropy(logits, self.tokens[:, 1:].flatten()).backward()

    def step(self) -> None:
        """Train for one step."""
        self.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def clock(self) -> float:
        """Return the seconds so far, when the device has done all it was told."""
        if self.args.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self) -> tuple[float, float]:
        """Return the seconds of a step, and of its part after backward."""
        start = self.clock()
        self.backward()
        middle = self.clock()
        self.optimizer.step()
        self.optimizer.zero_grad()
        end = self.clock()
        return end - start, end - middle


def measure(way: str, attach: Attach, args: argparse.Namespace) -> str:
    """Return the line of the table of one way."""
    cuda = args.device != "cpu"
    before = torch.cuda.memory_allocated() if cuda else 0
    training = Training(attach, args)
    training.step()  # makes the state
    size = sum(p.numel() for p in training.model.parameters())
    if cuda:
        torch.cuda.synchronize()
        kept = torch.cuda.memory_allocated() - before
    else:
        weights = sum(p.nbytes for p in training.model.parameters())
        kept = weights + state_bytes(training.optimizer)
    peak = kept + peak_bytes(training.step, args.device)
    whole, after = zip(*(training.timed() for _ in range(args.rounds)), strict=True)
    return (f"{way:20}{kept / size:8.2f}{peak / size:8.2f}"
            f"{statistics.median(whole):10.3f}{min(whole):9.3f}{max(whole):8.3f}"
            f"{statistics.median(after):10.3f}{min(after):9.3f}{max(after):8.3f}")  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("heads", 12), ("layers", 12), ("vocab", 50_304), ("tokens", 128),
                          ("rounds", 5), ("threads", 0)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ways", nargs="*", help="names of those to measure; default all")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--dtype", default="float32", help="of the weights; or bfloat16")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    cuda = args.device != "cpu"
    where = torch.cuda.get_device_name() if cuda else "CPU"
    print(f"{args.dtype}, {args.tokens} tokens, {where}, {torch.get_num_threads()} CPU threads, "
          f"torch {torch.__version__}; bytes a parameter, seconds")  # fmt: skip
    print(f"{'':20}{'kept':>8}{'peak':>8}{'step':>10}{'range':>17}{'of it, update':>18}")
    for way, attach in (WAYS if cuda else {**WAYS, **COPIES}).items():
        if not args.ways or way in args.ways:
            print(measure(way, attach, args), flush=True)


if __name__ == "__main__":
    main()
