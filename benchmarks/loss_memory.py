"""Memory and time of the head's loss: all logits at once, in chunks, and in a plain loop of chunks.

    python benchmarks/loss_memory.py [--tokens 4096] [--vocab 50304] [--width 384] [--chunk 512]
        [--rounds 3] [--threads 1] [--device cpu] [--bf16]

One round is the loss and its gradients by hidden states and head. `whole` and `chunked` are
`adana.nn.loss.head_loss` without and with chunks; `plain loop` sums cross-entropies of chunks and
leaves the rest to autograd, which keeps every chunk's logits until the backward pass. Printed are
the most memory that torch allocated at once beyond what was there before, and the median time: of
this process's CPUs on the CPU, which other programs disturb less, and of the clock on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adana.nn.loss import head_loss

Z_COEFF = 1e-4


def plain_loop(head: nn.Linear, hidden: Tensor, targets: Tensor, chunk: int) -> Tensor:
    total = hidden.new_zeros(())
    rows, flat = hidden.flatten(0, 1), targets.flatten()
    for start in range(0, len(flat), chunk):
        logits = head(rows[start : start + chunk]).float()
        total = total + F.cross_entropy(logits, flat[start : start + chunk], reduction="sum")
        total = total + Z_COEFF * logits.logsumexp(-1).square().sum()
    return total / len(flat)


def peak_bytes(step: Callable[[], None], device: str) -> int:
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(profile_memory=True) as profile:
        step()
    now = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def seconds(step: Callable[[], None], device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("tokens", 4096), ("vocab", 50_304), ("width", 384), ("chunk", 512),
                          ("rounds", 3), ("threads", 1)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    head = nn.Linear(args.width, args.vocab, bias=False, device=args.device)
    hidden = torch.randn(1, args.tokens, args.width, device=args.device, requires_grad=True)
    targets = torch.randint(args.vocab, (1, args.tokens), device=args.device)
    losses = {
        "whole": lambda: head_loss(head, hidden, targets, Z_COEFF).loss,
        "chunked": lambda: head_loss(head, hidden, targets, Z_COEFF, args.chunk).loss,
        "plain loop": lambda: plain_loop(head, hidden, targets, args.chunk),
    }

    def step(name: str) -> None:
        with torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.bf16):
            loss = losses[name]()
        loss.backward()
        hidden.grad = head.weight.grad = None

    logits = 4 * args.tokens * args.vocab
    where = torch.cuda.get_device_name() if args.device != "cpu" else f"{args.threads} CPU threads"
    mode = ", bf16 autocast" if args.bf16 else ""
    print(f"{args.tokens} tokens, vocabulary {args.vocab}, width {args.width}{mode}")
    print(f"chunks of {args.chunk} tokens; {where}; torch {torch.__version__}")
    print(f"float32 logits: {logits / 2**20:.0f} MiB, head: {head.weight.nbytes / 2**20:.0f} MiB")
    peaks = {name: peak_bytes(lambda name=name: step(name), args.device) for name in losses}
    times: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(args.rounds):
        for name in losses:
            times[name].append(seconds(lambda name=name: step(name), args.device))
    print(f"{'':12}{'peak MiB':>10}{'of logits':>11}{'seconds':>10}")
    for name, values in times.items():
        print(f"{name:12}{peaks[name] / 2**20:10.0f}{peaks[name] / logits:11.2f}"
              f"{statistics.median(values):10.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
