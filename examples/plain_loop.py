"""ADana in a training loop of your own: schedule, gradient clipping, checkpoint and resume.

    python examples/plain_loop.py

needs nothing but adana and takes a few seconds. It trains a small model of a made-up language,
then starts a second time from the checkpoint that the first run left halfway.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import adana
from adana.schedules import default_warmup_steps, warmup_cosine

VOCAB, WIDTH = 32, 64


def batch(step: int, sequences: int = 16, length: int = 33) -> Tensor:
    """Walks on a ring, one or two tokens further each time: no model can get below ln 2 = 0.69.

    A function of the step alone, so that a resumed run sees the batches it would have seen.
    """
    generator = torch.Generator().manual_seed(step)
    start = torch.randint(VOCAB, (sequences, 1), generator=generator)
    moves = torch.randint(1, 3, (sequences, length - 1), generator=generator)
    return torch.cat([start, moves], dim=1).cumsum(dim=1) % VOCAB


def main(
    steps: int = 200, folder: str | Path | None = None, resume_from: str | Path | None = None
) -> list[float]:
    """Train and return the loss of every step that ran; a checkpoint goes to `folder` halfway."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, VOCAB)
    )
    # Two groups: matrices decay; embeddings, biases and gains do not. With the number of steps
    # ADana knows how weight decay is to fall over the run.
    optimizer = adana.ADana(adana.param_groups(model), lr=1e-2, total_steps=steps)
    # The schedules of adana count steps from 1, LambdaLR counts from 0.
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: warmup_cosine(k + 1, steps, default_warmup_steps(steps))
    )

    first = 0
    if resume_from is not None:
        saved = torch.load(resume_from, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        first = saved["step"]

    losses = []
    for step in range(first, steps):
        tokens = batch(step)
        logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if folder is not None and step + 1 == steps // 2:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "step": step + 1,
            }
            torch.save(state, Path(folder) / "halfway.pt")
    return losses


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        losses = main(folder=folder)
        print(f"trained: loss {losses[0]:.3f} -> {losses[-1]:.3f}")
        resumed = main(resume_from=Path(folder) / "halfway.pt")
        print(f"resumed: loss {resumed[0]:.3f} -> {resumed[-1]:.3f}")
