"""The model that a run directory holds."""

import dataclasses

import pytest
import torch

from adana.data import BatchStream, validation_windows
from adana.nn import LSTMConfig, Qwen3Config
from adana.runs import Run, RunError
from adana.train import load_trained, train
from tests.train.conftest import VOCAB

SHAPES = {
    "enoki": None,
    "qwen3": Qwen3Config(heads=2, layers=1, head_dim=8, vocab_size=VOCAB, sequence_length=32),
    "lstm": LSTMConfig(width=16, layers=1, vocab_size=VOCAB, sequence_length=32),
}


@pytest.mark.parametrize("family", SHAPES)
def test_a_loaded_model_has_the_loss_that_the_run_recorded(family, config, shards, tmp_path):
    model = SHAPES[family] or config.model
    config = dataclasses.replace(config, model=model, averages=("ema:0.9",))
    run = Run(tmp_path / "run")
    summary = train(config, shards, run).summary
    loaded = load_trained(run)
    assert not loaded.training
    stream = BatchStream(shards.train, 32, config.seed)
    tokens = torch.from_numpy(stream.batch(0, 2))
    assert loaded(tokens[:, :-1]).shape == (2, 32, VOCAB)
    windows = torch.from_numpy(validation_windows(shards.validation, 32, config.eval_tokens))
    with torch.no_grad():
        logits = loaded(windows[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
    assert float(loss) == pytest.approx(summary["val_loss"], abs=1e-5)


def test_an_average_has_the_loss_that_the_run_recorded_for_it(config, shards, tmp_path):
    config = dataclasses.replace(config, averages=("ema:0.9", "tail:0.1"))
    run = Run(tmp_path / "run")
    summary = train(config, shards, run).summary
    windows = torch.from_numpy(validation_windows(shards.validation, 32, config.eval_tokens))
    for name in config.averages:
        with torch.no_grad():
            logits = load_trained(run, average=name)(windows[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        recorded = summary["averages"][name]["val_loss"]
        assert float(loss) == pytest.approx(recorded, abs=1e-5)
        assert recorded != pytest.approx(summary["val_loss"], abs=1e-5)
    with pytest.raises(RunError, match=r"no average 'ema:0\.99' of the weights: it has ema"):
        load_trained(run, average="ema:0.99")
    with pytest.raises(RunError, match=r"tail:0\.1 had not begun at .*step-00000010.*later check"):
        load_trained(run, 10, average="tail:0.1")


def test_a_run_without_averages_says_how_to_have_some(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(config, shards, run)
    with pytest.raises(RunError, match=r"'ema:0\.9' of the weights: it has none \(adana"):
        load_trained(run, average="ema:0.9")


def test_an_earlier_checkpoint_is_taken_by_its_step(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(config, shards, run)
    earlier, newest = load_trained(run, 10), load_trained(run, 12)
    assert not torch.equal(earlier.head.weight, newest.head.weight)
    assert torch.equal(load_trained(run).head.weight, newest.head.weight)
    for path in (run.path, str(run.path)):
        assert torch.equal(load_trained(path, 10).head.weight, earlier.head.weight)
    with pytest.raises(RunError, match="no checkpoint of step 5, only of 10, 12"):
        load_trained(run, 5)


def test_a_run_without_checkpoints_says_so(config, shards, tmp_path):
    with pytest.raises(RunError, match="has no checkpoint"):
        load_trained(Run(tmp_path))


def test_a_damaged_checkpoint_is_not_loaded_and_a_whole_one_is_named(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(config, shards, run)
    for step, told in ((12, "Take another one: --step 10"), (10, "There is no other one")):
        (file,) = (run.checkpoints / f"step-{step:08d}").glob("*.safetensors")
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(bytes(content))
        with pytest.raises(RunError, match=rf"altered .* does not match\. {told}"):
            load_trained(run, step)
        file.write_bytes(bytes(content[:-1]))  # which is seen without reading it
