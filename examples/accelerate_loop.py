"""ADana with Accelerate: gradient accumulation, a schedule on any number of processes, resume.

    pip install -e '.[examples]'
    python examples/accelerate_loop.py
    torchrun --standalone --nproc_per_node 2 examples/accelerate_loop.py

trains a small model of a made-up language, then starts a second time from the state that the first
run saved halfway. It downloads nothing and takes some seconds on a CPU.
"""

import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import set_seed
from torch import Tensor, nn

import adana
from adana.schedules import default_warmup_steps, warmup_cosine

VOCAB, WIDTH, BATCH = 32, 64, 8


class Walks(torch.utils.data.Dataset):
    """Walks on a ring, one or two tokens further each time: no model can get below ln 2 = 0.69."""

    def __init__(self, sequences: int) -> None:
        self.sequences = sequences

    def __len__(self) -> int:
        return self.sequences

    def __getitem__(self, i: int) -> Tensor:
        generator = torch.Generator().manual_seed(i)
        return (i + torch.randint(1, 3, (33,), generator=generator).cumsum(dim=0)) % VOCAB


def main(
    steps: int = 200,
    folder: str | Path | None = None,
    resume_from: str | Path | None = None,
    accumulate: int = 2,
) -> list[float]:
    """Train and return the loss of every batch of this process; `folder` gets the halfway state."""
    # cpu=True only so that the example does the same everywhere.
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    processes = accelerator.num_processes
    set_seed(0)
    model = nn.Sequential(
        nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, VOCAB)
    )
    optimizer = adana.ADana(adana.param_groups(model), lr=1e-2, total_steps=steps)
    # A prepared scheduler moves once per process at every optimizer step, so its steps are counted
    # in those units. `total_steps` above stays the number of optimizer steps.
    horizon, warmup = processes * steps, processes * default_warmup_steps(steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: warmup_cosine(k + 1, horizon, warmup)
    )
    data = Walks(processes * steps * accumulate * BATCH)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)

    done = 0
    batches = loader
    if resume_from is not None:
        accelerator.load_state(str(resume_from))
        done = int(Path(resume_from).name.removeprefix("step-"))
        batches = accelerator.skip_first_batches(loader, done * accumulate)

    losses = []
    for tokens in batches:
        with accelerator.accumulate(model):
            logits = model(tokens[:, :-1])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        if accelerator.sync_gradients:
            done += 1
            if folder is not None and done == steps // 2:
                accelerator.save_state(str(Path(folder) / f"step-{done}"))
    return losses


if __name__ == "__main__":
    state = PartialState(cpu=True)
    folder = Path(tempfile.gettempdir()) / "accelerate_loop"
    losses = main(folder=folder)
    state.print(f"trained: loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    resumed = main(resume_from=folder / "step-100")
    state.print(f"resumed: loss {resumed[0]:.3f} -> {resumed[-1]:.3f}")
    state.wait_for_everyone()
    state.destroy_process_group()
