"""What docs/integrations.md says about Lightning."""

import pytest
import torch

import adana

from .conftest import library, load, recorded

lightning = library("lightning")

STEPS = 6


def trainer(**changes):
    return lightning.Trainer(
        **{
            "max_steps": STEPS,
            "max_epochs": -1,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **changes,
        }
    )


@pytest.fixture
def example():
    return load("lightning_module")


@pytest.fixture
def loader(example):
    return torch.utils.data.DataLoader(example.Walks(), batch_size=8)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "loss scaling"])
def test_one_step_for_each_accumulation_in_every_precision(example, loader, precision):
    from lightning.pytorch.plugins.precision import MixedPrecision  # noqa: PLC0415

    model = example.LanguageModel()
    how = {"precision": precision}
    if precision == "loss scaling":  # by its own name Lightning would not do it on a CPU
        how = {"plugins": MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))}
    with recorded() as record:
        trainer(**how, accumulate_grad_batches=3, gradient_clip_val=1.0).fit(model, loader)
    assert len(model.losses) == 3 * STEPS
    assert len(record.gammas) == STEPS
    for state in record.optimizer.state.values():
        assert int(state["step"]) == STEPS
        assert state["m"].dtype == state["v"].dtype == torch.float32


def test_the_learning_rate_finder_needs_a_peak(example, loader):
    from lightning.pytorch.tuner import Tuner  # noqa: PLC0415

    class Plain(example.LanguageModel):
        peak_lr = None

        def configure_optimizers(self):
            groups = adana.param_groups(self)
            return adana.ADana(groups, lr=self.hparams.lr, peak_lr=self.peak_lr)

    class Peaked(Plain):
        peak_lr = 1.0

    def find(model):
        found = Tuner(trainer()).lr_find(model, loader, num_training=20, update_attr=False)
        return found.results

    with pytest.raises(ValueError, match="peak_lr"):
        find(Plain())
    assert len(find(Peaked())["loss"]) == 20


def test_training_without_an_end_has_no_number_of_steps(example, loader):
    with pytest.raises(OverflowError):
        trainer(max_steps=-1).fit(example.LanguageModel(), loader)


def test_stochastic_weight_averaging_needs_a_peak(example, loader):
    from lightning.pytorch.callbacks import StochasticWeightAveraging  # noqa: PLC0415

    def train(**peak):
        class Model(example.LanguageModel):
            def configure_optimizers(self):
                return adana.ADana(adana.param_groups(self), lr=1e-2, **peak)

        averaging = StochasticWeightAveraging(swa_lrs=5e-3, swa_epoch_start=1)
        with recorded() as record:
            trainer(max_steps=-1, max_epochs=3, limit_train_batches=2, callbacks=[averaging]).fit(
                Model(), loader
            )
        return record.gammas

    with pytest.raises(ValueError, match="peak_lr"):
        train()
    assert train(peak_lr=1e-2)[0] == 1.0


@pytest.fixture
def command_line(monkeypatch):
    """A function from a module class and options to the trainer that `LightningCLI` ran."""
    pytest.importorskip("jsonargparse", reason="LightningCLI needs jsonargparse[signatures]")
    from lightning.pytorch.cli import LightningCLI  # noqa: PLC0415

    trainer = ["max_steps=2", "accelerator=cpu", "logger=false", "enable_checkpointing=false"]
    trainer += ["enable_progress_bar=false", "enable_model_summary=false"]

    def run(module, *options):
        arguments = ["fit", *(f"--trainer.{setting}" for setting in trainer), *options]
        monkeypatch.setattr("sys.argv", ["program", *arguments])
        return LightningCLI(module, save_config_callback=None).trainer

    return run


def test_the_command_line_names_the_optimizer_and_the_module_its_groups(
    example, loader, command_line
):
    from lightning.pytorch.cli import OptimizerCallable  # noqa: PLC0415

    class Model(example.LanguageModel):
        def __init__(self, optimizer: OptimizerCallable = torch.optim.SGD):
            super().__init__()
            self.optimizer = optimizer

        def configure_optimizers(self):
            return self.optimizer(adana.param_groups(self))

        def train_dataloader(self):
            return loader

    chosen = ("--model.optimizer=ADana", "--model.optimizer.lr=1e-3", "--model.optimizer.omega=2")
    (optimizer,) = command_line(Model, *chosen).optimizers
    assert type(optimizer) is adana.ADana
    assert [group["omega"] for group in optimizer.param_groups] == [2.0, 0.0]


def test_the_command_lines_own_optimizer_option_decays_everything(example, loader, command_line):
    class Model(example.LanguageModel):
        def __init__(self):
            super().__init__()

        def train_dataloader(self):
            return loader

    (optimizer,) = command_line(
        Model, "--optimizer=adana.LogAdamW", "--optimizer.lr=1e-3"
    ).optimizers
    assert type(optimizer) is adana.LogAdamW
    assert [group["omega"] for group in optimizer.param_groups] == [4.0]
