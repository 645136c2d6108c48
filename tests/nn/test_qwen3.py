"""Qwen3's own parts, against the formulas of the specification written out."""

import torch
import torch.nn.functional as F

from adana.nn import Qwen3, Qwen3Config
from adana.nn.qwen3 import RMSNorm

CONFIG = Qwen3Config(heads=3, layers=1, head_dim=8, vocab_size=31, sequence_length=10)
H, D_HEAD, D = 3, 8, 24


def rms(x, gain):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain


def turn(x):
    """Rotary positions written as one 2 x 2 rotation a pair."""
    out = torch.empty_like(x)
    for position in range(x.shape[0]):
        for j in range(D_HEAD // 2):
            angle = torch.tensor(position * 10_000 ** (-2 * j / D_HEAD))
            a, b = x[position, 2 * j], x[position, 2 * j + 1]
            out[position, 2 * j] = a * angle.cos() - b * angle.sin()
            out[position, 2 * j + 1] = a * angle.sin() + b * angle.cos()
    return out


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
        scores = (q @ k.T / D_HEAD**0.5).masked_fill(torch.ones(10, 10).triu(1).bool(), -torch.inf)
        outputs.append(scores.softmax(-1) @ v * gate.sigmoid())
    x = x + torch.cat(outputs, -1) @ b["attention.out.weight"].T
    h = rms(x, b["mlp_norm.weight"])
    inner = F.silu(h @ b["mlp.gate.weight"].T) * (h @ b["mlp.up.weight"].T)
    x = x + inner @ b["mlp.down.weight"].T
    return rms(x, w["norm.weight"]) @ w["head.weight"].T


def test_logits_follow_the_specification():
    model = Qwen3(CONFIG, seed=5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():  # gains other than 1
            if p.ndim == 1:
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
        tokens = torch.randint(0, 31, (1, 10), generator=generator)
        expected = by_the_formulas(model.state_dict(), tokens[0])
        torch.testing.assert_close(model(tokens)[0], expected, rtol=1e-4, atol=1e-5)


def test_rms_norm_takes_its_statistics_in_float32():
    x = torch.randn(4, 4096, generator=torch.Generator().manual_seed(0)).bfloat16()
    norm = RMSNorm(4096)
    expected = rms(x.float(), 1.0).bfloat16()
    assert torch.equal(norm(x), expected.float())  # cast back, then times the float32 gain
