"""What may change speed and memory, and must not change what is computed."""

import dataclasses

import pytest
import torch
from torch._dynamo.utils import counters
from torch.autograd.graph import saved_tensors_hooks

from adana.nn import EnokiConfig, LSTMConfig, Qwen3Config, build_model
from adana.runs import Run
from adana.train import LayoutConfig, World, train
from adana.train.checkpoint import list_checkpoints
from adana.train.clock import SECTIONS
from adana.train.parallelize import place_model

from .conftest import VOCAB
from .results import final_state

SHAPE = {"vocab_size": VOCAB, "sequence_length": 32, "layers": 2}
MODELS = {
    "enoki": EnokiConfig(heads=2, head_dim=8, **SHAPE),
    "qwen3": Qwen3Config(heads=2, head_dim=8, **SHAPE),
    "lstm": LSTMConfig(width=16, **SHAPE),
}
HERE = World(torch.device("cpu"))


def with_layout(config, **changes):
    return dataclasses.replace(config, layout=dataclasses.replace(config.layout, **changes))


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize(
    "changes",
    [{"loss_chunk": 7}, {"activation_checkpointing": True}, {"micro_batch": 1}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_layout_changes_losses_by_rounding_only(family, changes, config, shards, tmp_path):
    config = dataclasses.replace(config, model=MODELS[family], steps=6)
    ends = []
    for name, each in (("plain", config), ("other", with_layout(config, **changes))):
        run = Run(tmp_path / name)
        assert train(each, shards, run).state == "finished"
        ends.append([row.get("train_loss", row.get("val_loss")) for row in run.metrics()])
    assert ends[1] == pytest.approx(ends[0], abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["enoki", "qwen3"])
def test_blocks_compile_once_for_all_of_them_and_give_the_same_losses(
    family, config, shards, tmp_path
):
    model = dataclasses.replace(MODELS[family], layers=10)
    config = dataclasses.replace(config, model=model, steps=6)
    torch.compiler.reset()
    counters.clear()
    ends = []
    for name, compile_ in (("plain", False), ("compiled", True)):
        run = Run(tmp_path / name)
        train(with_layout(config, compile=compile_), shards, run)
        ends.append([row.get("train_loss", row.get("val_loss")) for row in run.metrics()])
    assert ends[1] == pytest.approx(ends[0], abs=2e-3)
    # Training and evaluation, whole batches and the last evaluation's smaller one: not ten blocks.
    assert 1 <= counters["stats"]["unique_graphs"] <= 4
    assert not counters["graph_break"]


def test_recomputed_activations_are_not_kept():
    tokens = torch.zeros(2, 32, dtype=torch.long)
    kept = {}
    for recompute in (False, True):
        layout = LayoutConfig(activation_checkpointing=recompute)
        deep = dataclasses.replace(MODELS["enoki"], layers=10)
        model = place_model(deep, 0, layout, HERE)
        sizes = []

        def pack(tensor, sizes=sizes):
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            model.forward(tokens, tokens).loss.backward()
        kept[recompute] = sum(sizes)
    assert kept[True] < 0.5 * kept[False]


def test_bfloat16_multiplies_in_bfloat16_and_keeps_everything_in_float32(
    config, shards, tmp_path, monkeypatch
):
    seen = set()
    linear = torch.nn.functional.linear

    def watched(x, weight, bias=None):
        y = linear(x, weight, bias)
        seen.add(y.dtype)
        return y

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    run, exact = Run(tmp_path / "bf16"), Run(tmp_path / "fp32")
    assert train(dataclasses.replace(config, precision="bfloat16"), shards, run).state == "finished"
    assert torch.bfloat16 in seen
    monkeypatch.undo()
    train(config, shards, exact)
    tensors = final_state(run)["tensors"]
    assert {t.dtype for t in tensors.values()} <= {torch.float32, torch.int64}
    assert run.summary()["val_loss"] == pytest.approx(exact.summary()["val_loss"], abs=0.05)
    assert run.summary()["val_loss"] != exact.summary()["val_loss"]


def test_precision_is_part_of_what_a_run_is_and_the_layout_is_not(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(config, shards, run)
    other = with_layout(config, activation_checkpointing=True, loss_chunk=5, parallel="fsdp")
    assert train(other, shards, run).reason == "already trained"


def test_checkpoints_of_chosen_steps_stay(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(with_layout(config, checkpoint_every=2, keep=1, keep_every=4), shards, run)
    assert [int(path.name[5:]) for path in list_checkpoints(run.checkpoints)] == [4, 8, 12]


def test_checkpoints_that_stay_have_a_rhythm_of_their_own(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(with_layout(config, checkpoint_every=7, keep=1, keep_every=5), shards, run)
    assert [int(path.name[5:]) for path in list_checkpoints(run.checkpoints)] == [5, 10, 12]


def test_ligers_kernel_is_refused_without_a_gpu(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(ValueError, match="needs a GPU, this run is on cpu"):
        train(with_layout(config, loss_chunk="liger"), shards, run)
    assert not (run.path / "config.json").exists()


def test_the_summary_says_where_the_time_went(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(with_layout(config, measure_peak=True), shards, run)
    summary = run.summary()
    assert set(summary["time_split"]) == set(SECTIONS)
    assert 0 < sum(summary["time_split"].values()) <= summary["seconds"] + 0.1
    assert 0 < summary["mfu"] < 1
    assert run.environment()["matmul_peak"] > 1e6


@pytest.mark.parametrize("family", MODELS)
def test_a_placed_model_has_the_weights_and_names_of_a_plain_one(family):
    placed = place_model(MODELS[family], 3, LayoutConfig(compile=True), HERE).module
    plain = build_model(MODELS[family], seed=3)
    assert placed.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert placed.state_dict()[name].equal(value), name
