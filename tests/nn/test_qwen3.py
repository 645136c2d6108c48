"""Qwen3's own parts, against the formulas of the specification written out."""

import torch
import torch.nn.functional as F

from adana.nn import Qwen3, Qwen3Config
from adana.nn.qwen3 import RMSNorm

from .formulas import attended, check_logits, turn

CONFIG = Qwen3Config(heads=3, layers=1, head_dim=8, vocab_size=31, sequence_length=10)
H, D_HEAD = 3, 8


def rms(x, gain):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain


def by_the_formulas(w, tokens):
    x = w["embedding.weight"][tokens]
    b = {name.removeprefix("blocks.0."): p for name, p in w.items()}
    h = rms(x, b["attention_norm.weight"])
    outputs = []
    for i in range(H):
        rows = slice(D_HEAD * i, D_HEAD * (i + 1))
        fused = h @ b["attention.query.weight"][2 * D_HEAD * i : 2 * D_HEAD * (i + 1)].T
        q, gate = fused[:, :D_HEAD], fused[:, D_HEAD:]
        k, v = h @ b["attention.key.weight"][rows].T, h @ b["attention.value.weight"][rows].T
        q = turn(rms(q, b["attention.q_norm.weight"]))
        k = turn(rms(k, b["attention.k_norm.weight"]))
        outputs.append(attended(q, k, v) * gate.sigmoid())
    x = x + torch.cat(outputs, -1) @ b["attention.out.weight"].T
    h = rms(x, b["mlp_norm.weight"])
    inner = F.silu(h @ b["mlp.gate.weight"].T) * (h @ b["mlp.up.weight"].T)
    x = x + inner @ b["mlp.down.weight"].T
    return rms(x, w["norm.weight"]) @ w["head.weight"].T


def test_logits_follow_the_specification():
    check_logits(Qwen3(CONFIG, seed=5), by_the_formulas)


def test_rms_norm_takes_its_statistics_in_float32():
    x = torch.randn(4, 4096, generator=torch.Generator().manual_seed(0)).bfloat16()
    norm = RMSNorm(4096)
    expected = rms(x.float(), 1.0).bfloat16()
    assert torch.equal(norm(x), expected.float())  # cast back, then times the float32 gain
