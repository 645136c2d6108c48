"""The LSTM model against its formulas written out."""

import torch

from adana.nn import LSTMConfig, LSTMModel

from .formulas import check_logits, normed

CONFIG = LSTMConfig(width=12, layers=2, vocab_size=31, sequence_length=10)


def by_the_formulas(w, tokens):
    """x + LSTM(LayerNorm(x)) in each layer, from a zero state, one token at a time."""
    x = w["embedding.weight"][tokens]
    for layer in range(CONFIG.layers):
        place = f"blocks.{layer}."
        b = {name.removeprefix(place): p for name, p in w.items() if name.startswith(place)}
        bias = b["lstm.bias_ih_l0"] + b["lstm.bias_hh_l0"]
        memory = output = torch.zeros(CONFIG.width)
        outputs = []
        for inner in normed(x, b["norm.weight"]):
            gates = b["lstm.weight_ih_l0"] @ inner + b["lstm.weight_hh_l0"] @ output + bias
            enter, forget, cell, leave = gates.chunk(4)
            memory = forget.sigmoid() * memory + enter.sigmoid() * cell.tanh()
            output = leave.sigmoid() * memory.tanh()
            outputs.append(output)
        x = x + torch.stack(outputs)
    return normed(x, w["norm.weight"]) @ w["head.weight"].T


def test_logits_follow_the_formulas():
    check_logits(LSTMModel(CONFIG, seed=5), by_the_formulas)
