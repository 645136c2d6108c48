"""What docs/integrations.md says about transformers.Trainer."""

import pytest
import torch

import adana

from .conftest import library, load, recorded

library("transformers")

from transformers import Trainer, TrainingArguments  # noqa: E402

STEPS = 6


def arguments(folder, **changes):
    return TrainingArguments(
        **{
            "output_dir": str(folder),
            "max_steps": STEPS,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-2,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            **changes,
        }
    )


@pytest.fixture
def example():
    return load("huggingface_trainer")


def test_the_subclass_trains_like_a_passed_optimizer(example, tmp_path):
    with recorded() as record:
        losses = example.main(folder=tmp_path, subclass=True)
    assert losses[0] > 2.4
    assert losses[-1] < 0.85
    assert [group["omega"] for group in record.optimizer.param_groups] == [4.0, 0.0]
    assert record.optimizer.param_groups[0]["total_steps"] == 200
    assert max(record.gammas) == 1.0
    assert record.gammas[-1] == pytest.approx(0.1, abs=0.01)


def test_the_number_of_steps_of_the_arguments_is_refused_where_epochs_are_given(example, tmp_path):
    args = arguments(tmp_path, max_steps=-1, num_train_epochs=1)
    with pytest.raises(ValueError, match="total_steps"):
        example.optimizer_and_scheduler(example.tiny_llama(), args)


def test_the_subclass_knows_the_number_of_steps_when_epochs_are_given(example, tmp_path):
    args = arguments(tmp_path, max_steps=-1, num_train_epochs=1, per_device_train_batch_size=64)
    trainer = example.ADanaTrainer(example.tiny_llama(), args, train_dataset=example.Walks())
    with recorded() as record:
        trainer.train()
    assert record.optimizer.param_groups[0]["total_steps"] == len(record.gammas) == 8


def test_the_subclass_builds_a_new_optimizer_for_each_model_of_model_init(example, tmp_path):
    trainer = example.ADanaTrainer(
        args=arguments(tmp_path), train_dataset=example.Walks(), model_init=example.tiny_llama
    )
    weights = []
    for _ in range(2):
        with recorded() as record:
            trainer.train()
        weights.append(record.weights())
        assert len(record.gammas) == STEPS
    for one, other in zip(*weights, strict=True):
        assert torch.equal(one, other)


def test_groups_passed_as_params_replace_the_groups_of_trainer(example, tmp_path):
    model = example.tiny_llama()
    hyperparameters = {"params": adana.param_groups(model), "lr": 1e-2, "total_steps": STEPS}
    trainer = Trainer(
        model,
        arguments(tmp_path),
        train_dataset=example.Walks(),
        optimizer_cls_and_kwargs=(adana.ADana, hyperparameters),
    )
    with recorded() as record:
        trainer.train()
    assert [group["omega"] for group in record.optimizer.param_groups] == [4.0, 0.0]


def test_the_groups_of_trainer_are_refused_with_the_way_out(example, tmp_path):
    """Their weight_decay is 0.0 by default, which would switch off all decay, or in other units."""

    def trainer(weight_decay):
        return Trainer(
            example.tiny_llama(),
            arguments(tmp_path, weight_decay=weight_decay),
            train_dataset=example.Walks(),
            optimizer_cls_and_kwargs=(adana.ADana, {"lr": 1e-2, "omega": 4.0}),
        )

    for weight_decay in (0.0, 0.1):
        with pytest.raises(ValueError, match="param_groups"):
            trainer(weight_decay).create_optimizer()


@pytest.mark.parametrize("precision", [{}, {"bf16": True}])
def test_one_step_for_each_accumulation(example, tmp_path, precision):
    model = example.tiny_llama()
    args = arguments(tmp_path, gradient_accumulation_steps=3, **precision)
    optimizer = adana.ADana(adana.param_groups(model), lr=1e-2, total_steps=STEPS)
    trainer = Trainer(model, args, train_dataset=example.Walks(), optimizers=(optimizer, None))
    with recorded() as record:
        trainer.train()
    assert len(record.gammas) == STEPS
    assert {int(state["step"]) for state in optimizer.state.values()} == {STEPS}
