"""ADana in a LightningModule: groups, a schedule that moves every step, checkpoint and resume.

    pip install -e '.[examples]'
    python examples/lightning_module.py

trains a small model of a made-up language, then starts a second time from the checkpoint of the
second of four epochs. It downloads nothing and takes some seconds on a CPU.
"""

import tempfile
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

import adana
from adana.schedules import default_warmup_steps, warmup_cosine

VOCAB, WIDTH = 32, 64


class Walks(torch.utils.data.Dataset):
    """Walks on a ring, one or two tokens further each time: no model can get below ln 2 = 0.69."""

    def __len__(self) -> int:
        return 800

    def __getitem__(self, i: int) -> Tensor:
        generator = torch.Generator().manual_seed(i)
        return (i + torch.randint(1, 3, (33,), generator=generator).cumsum(dim=0)) % VOCAB


class LanguageModel(lightning.LightningModule):
    """A model of the next token given this one."""

    def __init__(self, lr: float = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(
            nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, VOCAB)
        )
        self.losses: list[float] = []

    def training_step(self, tokens: Tensor, _: int) -> Tensor:
        """Return the loss of a batch of sequences."""
        logits = self.model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimizer, and its scheduler with the interval that Lightning must be told."""
        steps = int(self.trainer.estimated_stepping_batches)
        optimizer = adana.ADana(adana.param_groups(self), lr=self.hparams.lr, total_steps=steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda k: warmup_cosine(k + 1, steps, default_warmup_steps(steps))
        )
        # Without "step" Lightning moves the schedule once an epoch, and nothing says so.
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def main(
    epochs: int = 4, folder: str | Path = "lightning_module", resume_from: str | Path | None = None
) -> list[float]:
    """Train and return the loss of every step that ran; `folder` gets a checkpoint every epoch."""
    lightning.seed_everything(0)
    model = LanguageModel()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",  # only so that the example does the same everywhere
        gradient_clip_val=1.0,
        callbacks=[ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # In one order every epoch: Lightning does not restore the random numbers of a shuffling loader.
    loader = torch.utils.data.DataLoader(Walks(), batch_size=16)
    trainer.fit(model, loader, ckpt_path=resume_from, weights_only=True)
    return model.losses


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        losses = main(folder=folder)
        print(f"trained: loss {losses[0]:.3f} -> {losses[-1]:.3f}")
        resumed = main(folder=folder, resume_from=Path(folder) / "epoch=1.ckpt")
        print(f"resumed: loss {resumed[0]:.3f} -> {resumed[-1]:.3f}")
