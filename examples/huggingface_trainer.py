"""ADana in `transformers.Trainer`: parameter groups, schedule, checkpoint and resume.

    pip install -e '.[examples]'
    python examples/huggingface_trainer.py

trains a Llama of two layers on a made-up language, then starts a second time from the checkpoint
that the first run left halfway. It downloads nothing and takes some seconds on a CPU.
"""

import tempfile
from pathlib import Path

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

import adana
from adana.schedules import default_warmup_steps, warmup_cosine

VOCAB = 32


class Walks(torch.utils.data.Dataset):
    """Walks on a ring, one or two tokens further each time: no model can get below ln 2 = 0.69."""

    def __len__(self) -> int:
        return 512

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(i)
        moves = torch.randint(1, 3, (32,), generator=generator)
        tokens = (i + moves.cumsum(dim=0)) % VOCAB
        return {"input_ids": tokens, "labels": tokens}


def tiny_llama() -> LlamaForCausalLM:
    """Return a model small enough for a CPU, with random weights."""
    set_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config)


def optimizer_and_scheduler(
    model: nn.Module, args: TrainingArguments
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return what `Trainer(optimizers=...)` takes. The scheduler may be None: then `args` says it.

    The groups come from adana. Trainer's own say `weight_decay`, whose default of 0.0 would switch
    decay off, and they decay embeddings.
    """
    steps = args.max_steps
    optimizer = adana.ADana(adana.param_groups(model), lr=args.learning_rate, total_steps=steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: warmup_cosine(k + 1, steps, default_warmup_steps(steps))
    )
    return optimizer, scheduler


class ADanaTrainer(Trainer):
    """The same where Trainer must build it: `model_init`, hyperparameter search, FSDP2."""

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer for `model`; the scheduler comes from the arguments."""
        if self.optimizer is None:
            groups = adana.param_groups(self.model if model is None else model)
            self.optimizer = adana.ADana(
                groups, lr=self.args.learning_rate, total_steps=self.state.max_steps
            )
        return self.optimizer


def main(
    steps: int = 200,
    folder: str | Path = "huggingface_trainer",
    resume_from: str | Path | None = None,
    subclass: bool = False,
) -> list[float]:
    """Train and return the losses that this run logged; checkpoints go to `folder`."""
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        # For ADanaTrainer. Only decaying to 0 would be a different schedule from the one above.
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=default_warmup_steps(steps),
        save_steps=steps // 2,
        logging_steps=steps // 8,
        logging_first_step=True,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,  # only so that the example does the same everywhere
    )
    model = tiny_llama()
    if subclass:
        trainer = ADanaTrainer(model, args, train_dataset=Walks())
    else:
        optimizers = optimizer_and_scheduler(model, args)
        trainer = Trainer(model, args, train_dataset=Walks(), optimizers=optimizers)
    trainer.train(resume_from_checkpoint=resume_from)
    # A checkpoint brings back the log of the run that wrote it, up to its step.
    begun = 0 if resume_from is None else int(Path(resume_from).name.removeprefix("checkpoint-"))
    log = trainer.state.log_history
    return [entry["loss"] for entry in log if "loss" in entry and entry["step"] > begun]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        losses = main(folder=folder)
        print(f"trained: loss {losses[0]:.3f} -> {losses[-1]:.3f}")
        resumed = main(folder=folder, resume_from=Path(folder) / "checkpoint-100")
        print(f"resumed: loss {resumed[0]:.3f} -> {resumed[-1]:.3f}")
