"""Memory and hours, against the models and optimizers themselves."""

import dataclasses
import math
import subprocess
import sys
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adana.ladder import DEVICES, Device, Hardware, estimate, find_device, job_memory, plan_rung
from adana.ladder.estimates import BLOCK_BYTES, HEADROOM, divisors, state_bytes_per_parameter
from adana.nn import EnokiConfig, LSTMConfig, Qwen3Config, build_model, count_parameters
from adana.train import OPTIMIZERS, LayoutConfig, OptimizerConfig, TrainConfig

H100 = Hardware(DEVICES["h100"])


def terms(needs):
    return {term.name: term.bytes for term in needs.terms}


def on(devices=1, **layout):
    return lambda rung, name="adamw": estimate(
        rung, name, Hardware(DEVICES["h100"], devices), LayoutConfig(**layout)
    )


# --- what a worker takes on the CPU -------------------------------------------------------------

TAKES = """
import resource, sys
import torch
from adana.ladder.speed import seconds_per_step
from tests.ladder.test_estimates import trained
seconds_per_step(trained())
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


def trained(**settings):
    model = EnokiConfig(heads=4, head_dim=64, sequence_length=512, vocab_size=4096)
    return TrainConfig(OptimizerConfig("adana", 1e-3), 100, 16, model, **settings)


@pytest.mark.slow
def test_a_worker_takes_about_what_is_estimated():
    made = subprocess.run([sys.executable, "-c", TAKES], capture_output=True, text=True, check=True)
    # The measured process has read no corpus, hence the lower bound.
    assert 0.6 < int(made.stdout) / job_memory(trained()) < 1.2


def test_a_worker_takes_more_for_averages_and_smaller_pieces_take_less():
    plain = job_memory(trained())
    weights = 4 * count_parameters(trained().model).exact
    assert job_memory(trained(averages=("ema:0.9", "tail:0.2"))) == plain + 2 * weights
    assert job_memory(trained(layout=LayoutConfig(micro_batch=2))) < plain


def test_of_what_was_not_counted_nothing_is_estimated():
    assert job_memory(dataclasses.replace(trained(), model=LSTMConfig())) is None
    assert job_memory(trained(layout=LayoutConfig(device="meta"))) is None


# --- what is kept for the backward pass -----------------------------------------------------------


def saved_bytes(config, bf16):
    """Return the bytes of all that a forward pass of 8 sequences keeps, weights left out."""
    model = build_model(config, seed=0)
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    tokens = torch.zeros(8, config.sequence_length, dtype=torch.long)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        model(tokens).sum()
    return sum(size for _, size in kept.values())


FLOAT32_QUERIES = {"enoki": 8, "qwen3": 0}
"""Bytes a channel of the copies of queries and keys that CUDA's autocast makes for LayerNorm, and
that the CPU's does not."""


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("kind", [EnokiConfig, Qwen3Config])
def test_a_block_keeps_what_the_estimate_says(kind, bf16):
    shape = {"heads": 4, "head_dim": 64, "vocab_size": 64, "sequence_length": 128}
    one, two = (kind(layers=layers, **shape) for layers in (1, 2))
    block = count_parameters(two).non_embedding - count_parameters(one).non_embedding
    copies = 2 * block if bf16 else 0
    grown = saved_bytes(two, bf16) - saved_bytes(one, bf16) - copies
    per_channel = grown / (8 * 128 * one.width)
    if bf16:
        per_channel += FLOAT32_QUERIES[kind.family]
    assert BLOCK_BYTES[kind.family, bf16] == pytest.approx(per_channel, rel=0.03)


class Peak(TorchDispatchMode):
    """Counts the most bytes that the results of all operations take at a time."""

    def __init__(self):
        super().__init__()
        self.live, self.now, self.most = set(), 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage._cdata not in self.live:
                self.live.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        return result

    def _free(self, key, size):
        self.live.discard(key)
        self.now -= size


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("chunk", [None, 16])
def test_the_logits_take_what_the_estimate_says(chunk, bf16):
    vocab_size, width, tokens = 20_000, 8, 64  # the block hardly counts
    model = build_model(
        EnokiConfig(
            heads=1, layers=1, head_dim=width, vocab_size=vocab_size, sequence_length=tokens
        )
    )
    text = torch.zeros(1, tokens, dtype=torch.long)
    with Peak() as peak:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(text, text, chunk=chunk).loss
        loss.backward()
    rung = dataclasses.replace(plan_rung("enoki", 6), model=model.config)
    hardware = Hardware(dataclasses.replace(DEVICES["h100"], bf16=bf16))
    needs = estimate(rung, "adamw", hardware, LayoutConfig(loss_chunk=chunk, micro_batch=1))
    copy = 2 * vocab_size * width if bf16 else 0
    measured = peak.most - copy
    assert 0.95 * measured < terms(needs)["logits"] < 1.2 * measured


# --- what optimizers keep -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "hidden", "other"),
    [
        ("adamw", 8, 8),
        ("adana", 8, 8),
        ("dana-mk4", 8, 8),
        ("dana-star", 12, 12),
        ("dana-star-mk4", 12, 12),
        ("ademamix", 12, 12),
        ("log-muon", 4, 8),
        ("muon", 4, 8),
    ],
)
def test_the_bytes_of_state_are_those_an_optimizer_really_keeps(optimizer, hidden, other):
    assert state_bytes_per_parameter(optimizer) == (hidden, other)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_can_be_planned(optimizer):
    assert terms(estimate(plan_rung("enoki", 6), optimizer, H100))["optimizer state"] > 0


# --- the sum --------------------------------------------------------------------------------------


def test_the_terms_follow_their_formulas():
    rung = plan_rung("enoki", 6)
    needs = on(micro_batch=4)(rung)
    n, matrix = rung.counts.exact, 50_304 * 384
    assert terms(needs) == {
        "weights": 4 * n,
        "gradients": 4 * n,
        "optimizer state": 8 * n,
        "bf16 copies": 2 * (rung.counts.non_embedding + matrix),
        "activations": 51 * 4 * 384 * 4 * 2048,
        "logits": 50_304 * (12 * LayoutConfig().chunk_tokens("cuda") + 4 * 384),
    }
    assert needs.memory == sum(terms(needs).values())
    assert (needs.micro_batch, needs.accumulation) == (4, 8)


def test_fsdp_shares_what_ddp_repeats():
    rung = plan_rung("enoki", 12)
    ddp, fsdp = on(8)(rung), on(8, parallel="fsdp")(rung)
    for name in ("weights", "gradients", "optimizer state"):
        assert terms(fsdp)[name] == terms(ddp)[name] / 8
    assert terms(fsdp)["gathered"] > 0
    assert "gathered" not in terms(ddp)
    assert "gathered" not in terms(on(1, parallel="fsdp")(rung))


def test_checkpointing_keeps_one_block_and_the_inputs_of_the_others():
    rung = plan_rung("enoki", 12)
    usual = terms(on(micro_batch=1)(rung))["activations"]
    less = terms(on(micro_batch=1, activation_checkpointing=True)(rung))["activations"]
    assert usual == 51 * 9 * 768 * 2048
    assert less == (4 * 9 + 51) * 768 * 2048


def test_a_chunk_bounds_the_logits():
    rung = plan_rung("enoki", 6)
    assert terms(on(loss_chunk=100)(rung))["logits"] == 50_304 * (12 * 100 + 4 * 384)
    whole = plan_rung("enoki", 6, vocab_size=256, sequence_length=64)
    assert terms(on(micro_batch=2)(whole))["logits"] == 256 * (12 * 2 * 64 + 4 * 384)


def test_the_micro_batch_is_the_largest_that_fits():
    rung = plan_rung("enoki", 40)
    needs = on(8, parallel="fsdp")(rung)
    assert needs.fits
    assert needs.memory <= HEADROOM * 80e9
    assert needs.micro_batch * needs.accumulation == 4
    tight = Hardware(dataclasses.replace(DEVICES["h100"], memory=20e9), 8)
    small = estimate(rung, "adamw", tight, LayoutConfig(parallel="fsdp"))
    assert small.micro_batch < needs.micro_batch
    assert on(8, parallel="fsdp", micro_batch=1)(rung).micro_batch == 1


def test_what_does_not_fit_is_said_not_hidden():
    needs = estimate(plan_rung("enoki", 40), "adamw", Hardware(DEVICES["rtx4090"]))
    assert not needs.fits
    assert needs.micro_batch == 1


def test_a_machine_without_bf16_keeps_no_copies():
    cpu = Hardware(Device("a CPU", 1e11, 64e9, bf16=False))
    needs = estimate(plan_rung("enoki", 6), "adamw", cpu, LayoutConfig(micro_batch=1))
    assert "bf16 copies" not in terms(needs)
    assert terms(needs)["activations"] == 77 * 4 * 384 * 2048


def test_hours_are_work_over_speed():
    rung = plan_rung("enoki", 12)
    one = estimate(rung, "adamw", Hardware(DEVICES["h100"], 1, mfu=0.5))
    assert one.hours == pytest.approx(rung.model_flops / (989.5e12 * 0.5) / 3600)
    eight = estimate(rung, "adamw", Hardware(DEVICES["h100"], 8, mfu=0.5))
    assert eight.hours == pytest.approx(one.hours / 8)
    assert eight.device_hours == pytest.approx(one.device_hours)


@pytest.mark.parametrize(
    ("devices", "micro_batch", "message"),
    [
        (3, None, "32 sequences cannot be shared out evenly among 3 devices"),
        (64, None, "32 sequences cannot be shared out evenly among 64 devices"),
        (8, 3, "4 sequences a step cannot be cut into micro-batches of 3"),
        (8, 8, "4 sequences a step cannot be cut into micro-batches of 8"),
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_refused(devices, micro_batch, message):
    with pytest.raises(ValueError, match=message):
        on(devices, micro_batch=micro_batch)(plan_rung("enoki", 6))


@pytest.mark.parametrize("mfu", [0, -0.1, 1.1, math.nan])
def test_an_impossible_mfu_is_refused(mfu):
    with pytest.raises(ValueError, match=r"mfu must be a finite number in \(0, 1\]"):
        Hardware(DEVICES["h100"], 1, mfu)


def test_divisors_come_the_largest_first():
    assert divisors(12) == [12, 6, 4, 3, 2, 1]


# --- devices --------------------------------------------------------------------------------------


def test_the_devices_have_the_dense_peaks_of_their_data_sheets():
    tflops = {name: device.peak / 1e12 for name, device in DEVICES.items()}
    assert tflops == {
        "h100": 1979 / 2, "h200": 1979 / 2, "a100": 312, "l40s": 362.05, "rtx4090": 165.2,
    }  # fmt: skip
    memory = {name: device.memory / 1e9 for name, device in DEVICES.items()}
    assert memory == {"h100": 80, "h200": 141, "a100": 80, "l40s": 48, "rtx4090": 24}


def test_this_machine_is_measured():
    device = find_device("this")
    assert device.measured
    assert device.peak > 1e8
    assert device.memory > 1e8
    assert device.bf16 == torch.cuda.is_available()


def test_an_unknown_device_is_refused_with_the_known():
    with pytest.raises(ValueError, match=r"unknown device 'tpu', expected one of h100, .* this"):
        find_device("tpu")
