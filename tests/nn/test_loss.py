"""The loss: what its parts are, and that making it in chunks changes memory only."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from adana.nn import LossTerms
from adana.nn.chunked import chunked_loss
from adana.nn.liger import liger_loss
from adana.nn.loss import head_loss
from tests.interpreter import passes_in_interpreter

WIDTH, VOCAB, BATCH, TIME = 16, 53, 3, 7
CHUNKS = [1, 4, 7, 21, 1000]
Z_COEFFS = [0.0, 0.3]


def problem(dtype=torch.float32, width=WIDTH, vocab=VOCAB, time=TIME):
    """A head, hidden states that require gradients, and targets."""
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(width, vocab, bias=False, dtype=dtype)
    with torch.no_grad():
        head.weight.copy_(torch.randn(vocab, width, generator=generator) / width**0.5)
    hidden = torch.randn(BATCH, time, width, generator=generator).to(dtype).requires_grad_()
    return head, hidden, torch.randint(0, vocab, (BATCH, time), generator=generator)


def loss_and_gradients(z_coeff, chunk, scale=1.0, autocast=False, **kind):
    head, hidden, targets = problem(**kind)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        terms = head_loss(head, hidden, targets, z_coeff, chunk)
    (terms.loss * scale).backward()
    return terms, hidden.grad, head.weight.grad


def test_the_parts_of_the_loss_are_what_they_are_called():
    head, hidden, targets = problem(torch.float64)
    terms = head_loss(head, hidden, targets, z_coeff=0.3)
    probabilities = head(hidden).softmax(-1)
    cross_entropy = -probabilities.gather(-1, targets[..., None]).log()[..., 0]
    z = head(hidden).exp().sum(-1).log() ** 2
    assert terms.loss.item() == pytest.approx((cross_entropy + 0.3 * z).mean().item())
    assert terms.cross_entropy.tolist() == pytest.approx(cross_entropy.mean(1).tolist())
    assert terms.z.tolist() == pytest.approx(z.mean(1).tolist())
    for part in terms[1:]:
        assert part.shape == (BATCH,)
        assert part.dtype == torch.float32
        assert not part.requires_grad


@pytest.mark.parametrize("z_coeff", Z_COEFFS)
@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_change_neither_losses_nor_gradients(chunk, z_coeff):
    whole = loss_and_gradients(z_coeff, None, scale=0.7, dtype=torch.float64)
    chunked = loss_and_gradients(z_coeff, chunk, scale=0.7, dtype=torch.float64)
    for a, b in zip((*whole[0], *whole[1:]), (*chunked[0], *chunked[1:]), strict=True):
        assert a.dtype == b.dtype
        rtol = 1e-12 if a.dtype == torch.float64 else 1e-6
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("z_coeff", Z_COEFFS)
def test_in_float32_chunks_agree_to_rounding(z_coeff):
    whole, chunked = loss_and_gradients(z_coeff, None), loss_and_gradients(z_coeff, 4)
    for a, b in zip((*whole[0], *whole[1:]), (*chunked[0], *chunked[1:]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("z_coeff", Z_COEFFS)
def test_under_autocast_chunks_are_as_close_to_float32_as_the_whole_is(z_coeff):
    kind = {"width": 64, "vocab": 300, "time": 40}
    exact = loss_and_gradients(z_coeff, None, **kind)
    whole = loss_and_gradients(z_coeff, None, autocast=True, **kind)
    chunked = loss_and_gradients(z_coeff, 32, autocast=True, **kind)

    def error(found):
        return [
            ((a - b).norm() / b.norm()).item() for a, b in zip(found[1:], exact[1:], strict=True)
        ]

    assert chunked[0].loss.item() == pytest.approx(whole[0].loss.item(), rel=1e-5)
    assert [g.dtype for g in chunked[1:]] == [torch.float32, torch.float32]
    for ours, theirs in zip(error(chunked), error(whole), strict=True):
        assert 0 < ours < 1.1 * theirs
    assert error(whole)[1] > 1e-4  # bfloat16 was used


@pytest.mark.parametrize("z_coeff", Z_COEFFS)
def test_gradients_of_chunks_match_finite_differences(z_coeff):
    head, hidden, targets = problem(torch.float64, width=4, vocab=9, time=2)

    def loss(hidden, weight):
        return chunked_loss(hidden.flatten(0, 1), weight, targets.flatten(), z_coeff, 4)[0]

    assert torch.autograd.gradcheck(loss, (hidden, head.weight))


@pytest.mark.parametrize(("by_hidden", "by_weight"), [(True, False), (False, True)])
def test_only_the_gradients_asked_for_are_computed(by_hidden, by_weight):
    _, *full = loss_and_gradients(0.3, 4)
    head, hidden, targets = problem()
    hidden.requires_grad_(by_hidden)
    head.weight.requires_grad_(by_weight)
    with FlopCounterMode(display=False) as flops:
        head_loss(head, hidden, targets, 0.3, 4).loss.backward()
    for found, expected, asked in zip(
        (hidden.grad, head.weight.grad), full, (by_hidden, by_weight), strict=True
    ):
        assert torch.equal(found, expected) if asked else found is None
    assert flops.get_total_flops() == 2 * 2 * BATCH * TIME * WIDTH * VOCAB


@pytest.mark.parametrize("chunk", [None, 4])
def test_training_takes_three_matrix_products_and_evaluation_one(chunk):
    head, hidden, targets = problem()
    product = 2 * BATCH * TIME * WIDTH * VOCAB
    with FlopCounterMode(display=False) as flops:
        head_loss(head, hidden, targets, 0.3, chunk).loss.backward()
    assert flops.get_total_flops() == 3 * product
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        terms = head_loss(head, hidden, targets, 0.3, chunk)
    assert flops.get_total_flops() == product
    assert not terms.loss.requires_grad


def test_the_backward_pass_can_be_repeated_while_the_graph_is_kept():
    head, hidden, targets = problem()
    loss = head_loss(head, hidden, targets, 0.0, 4).loss
    first = torch.autograd.grad(loss, head.weight, retain_graph=True)[0].clone()
    second = torch.autograd.grad(loss, head.weight)[0]
    assert torch.equal(first, second)


# --- memory ---------------------------------------------------------------------------------------


def peak_bytes(step):
    """Return the most bytes that torch allocated at once during `step()`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize("autocast", [False, True])
def test_chunks_save_the_memory_of_the_logits(autocast):
    width, vocab, time = 32, 2000, 300
    logits = 4 * BATCH * time * vocab

    def peak(chunk):
        head, hidden, targets = problem(width=width, vocab=vocab, time=time)

        def step():
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                terms = head_loss(head, hidden, targets, 1e-4, chunk)
            terms.loss.backward()

        return peak_bytes(step)

    assert peak(None) > 2 * logits  # the measure sees them
    assert peak(32) < logits / 4


def test_chunks_save_the_memory_of_the_logits_in_evaluation():
    head, hidden, targets = problem(vocab=2000, time=300)
    with torch.no_grad():
        whole = peak_bytes(lambda: head_loss(head, hidden, targets))
        chunked = peak_bytes(lambda: head_loss(head, hidden, targets, chunk=32))
    assert chunked < whole / 10


# --- what is refused, and Liger ------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, -3, 2.5, "fast"])
def test_an_impossible_chunk_is_refused(chunk):
    with pytest.raises(ValueError, match="chunk must be None"):
        head_loss(*problem(), chunk=chunk)


def test_liger_is_refused_without_a_gpu():
    with pytest.raises(ValueError, match="needs a GPU; the model is on cpu"):
        head_loss(*problem(), chunk="liger")


def liger_arguments():
    head, hidden, targets = problem()
    return hidden.flatten(0, 1), head.weight, targets.flatten()


def test_liger_that_is_not_installed_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", None)
    with pytest.raises(ImportError, match="pip install liger-kernel"):
        liger_loss(*liger_arguments(), 0.0)


class StandIn:
    """The documented interface of Liger's loss, in plain torch."""

    def __init__(self, lse_square_scale=0.0, return_z_loss=False):
        self.scale, self.return_z_loss = lse_square_scale, return_z_loss

    def __call__(self, weight, hidden, targets):
        logits = hidden @ weight.T
        z_loss = self.scale * logits.logsumexp(-1).square().mean()
        loss = F.cross_entropy(logits, targets) + z_loss
        return (loss, z_loss) if self.return_z_loss else loss


@pytest.mark.parametrize("z_coeff", Z_COEFFS)
def test_liger_is_given_the_arguments_it_documents(monkeypatch, z_coeff):
    module = ModuleType("liger_kernel.transformers")
    module.LigerFusedLinearCrossEntropyLoss = StandIn
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", module)
    hidden, weight, targets = liger_arguments()
    found = liger_loss(hidden, weight, targets, z_coeff)
    loss, cross_entropy, lse = chunked_loss(hidden, weight, targets, z_coeff, 5)
    assert found[0].item() == pytest.approx(loss.item(), rel=1e-5)
    assert found[0].requires_grad
    assert found[1].item() == pytest.approx(cross_entropy.mean().item(), rel=1e-5)
    if z_coeff:
        assert found[2].item() == pytest.approx(lse.square().mean().item(), rel=1e-4)
    else:
        assert found[2].isnan()


@pytest.mark.libraries
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("liger_kernel", "triton"))),
    reason="Liger's kernel is not installed; to test it: pip install liger-kernel triton",
)
def test_ligers_kernel_agrees_in_the_interpreter():
    inside = Path(__file__).with_name("liger_in_interpreter.py")
    assert "5 passed" in passes_in_interpreter(inside)


def test_a_loss_is_a_tuple_so_that_wrappers_find_its_tensors():
    leaves, _ = torch.utils._pytree.tree_flatten(head_loss(*problem(), chunk=4))
    assert len(leaves) == len(LossTerms._fields)
