"""What the formulas of the models share, written out."""

import torch


def turn(x):
    """Rotary positions of (time, head_dim), written as one 2 x 2 rotation a pair."""
    out = torch.empty_like(x)
    width = x.shape[1]
    for position in range(x.shape[0]):
        for j in range(width // 2):
            angle = torch.tensor(position * 10_000 ** (-2 * j / width))
            a, b = x[position, 2 * j], x[position, 2 * j + 1]
            out[position, 2 * j] = a * angle.cos() - b * angle.sin()
            out[position, 2 * j + 1] = a * angle.sin() + b * angle.cos()
    return out


def normed(x, gain):
    """LayerNorm without a bias."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain


def attended(q, k, v):
    """Causal attention of one head, each (time, head_dim)."""
    future = torch.ones(len(q), len(q)).triu(1).bool()
    scores = (q @ k.T / q.shape[1] ** 0.5).masked_fill(future, -torch.inf)
    return scores.softmax(-1) @ v


def check_logits(model, by_the_formulas):
    """Compare a model's logits with `by_the_formulas(weights, tokens)`, gains and biases moved."""
    generator = torch.Generator().manual_seed(1)
    vocabulary = model.config.vocab_size
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
        tokens = torch.randint(0, vocabulary, (1, 10), generator=generator)
        expected = by_the_formulas(model.state_dict(), tokens[0])
        torch.testing.assert_close(model(tokens)[0], expected, rtol=1e-4, atol=1e-5)
