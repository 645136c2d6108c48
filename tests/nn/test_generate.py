"""Text from a model: the context, the draws, and what is never drawn."""

import pytest
import torch

from adana.nn import EnokiConfig, LSTMConfig, Qwen3Config, build_model
from adana.nn.generate import generate, pick

SHAPES = [
    EnokiConfig(heads=2, layers=1, head_dim=8, vocab_size=50, sequence_length=16),
    Qwen3Config(heads=2, layers=1, head_dim=8, vocab_size=50, sequence_length=16),
    LSTMConfig(width=16, layers=1, vocab_size=50, sequence_length=16),
]


class Fixed(torch.nn.Module):
    """Gives the same logits whatever the text, and notes how much it was shown."""

    def __init__(self, logits):
        super().__init__()
        self.config = EnokiConfig(heads=1, head_dim=8, vocab_size=len(logits), sequence_length=4)
        self.logits, self.seen = torch.tensor(logits), []

    def forward(self, tokens):
        self.seen.append(tokens.tolist())
        return self.logits.expand(*tokens.shape, -1)


def drawn(model, n, **settings):
    start = torch.zeros(1, 1, dtype=torch.int64)
    return [int(token) for token in generate(model, start, n, **settings)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.family)
def test_greedy_text_is_the_likeliest_next_token_of_the_cropped_context(shape):
    model = build_model(shape, seed=1).eval()
    text = torch.randint(0, 50, (2, 10), generator=torch.Generator().manual_seed(0))
    made = torch.stack(list(generate(model, text, 12, temperature=0)), dim=1)
    for _ in range(12):
        following = model(text[:, -16:])[:, -1].argmax(-1, keepdim=True)
        text = torch.cat([text, following], dim=1)
    assert torch.equal(made, text[:, 10:])


def test_the_model_never_sees_more_than_it_was_built_for():
    model = Fixed([0.0, 1.0, 0.5])
    drawn(model, 6, temperature=0)
    assert [len(text[0]) for text in model.seen] == [1, 2, 3, 4, 4, 4]


def test_ids_that_only_pad_the_vocabulary_are_never_drawn():
    model = Fixed([0.0, 0.1, 50.0, 60.0])
    generator = torch.Generator().manual_seed(0)
    assert set(drawn(model, 50, generator=generator, vocab_size=2)) == {0, 1}
    assert set(drawn(model, 3, temperature=0, vocab_size=2)) == {1}


def test_draws_follow_the_probabilities_and_the_seed():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2])).expand(20_000, 3)
    shares = torch.bincount(pick(logits, generator=torch.Generator().manual_seed(1))) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.015, rtol=0)
    half = pick(logits, temperature=0.5, generator=torch.Generator().manual_seed(1))
    expected = torch.tensor([0.25, 0.09, 0.04]) / 0.38
    torch.testing.assert_close(torch.bincount(half) / 20_000, expected, atol=0.015, rtol=0)
    again = pick(logits, temperature=0.5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(half, again)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 1}, {2}),
        ({"top_k": 2}, {2, 0}),
        ({"top_k": 9}, {0, 1, 2, 3}),
        ({"top_p": 0.3}, {2}),
        ({"top_p": 0.6}, {2, 0}),
        ({"top_p": 1.0}, {0, 1, 2, 3}),
        ({"top_k": 3, "top_p": 0.95}, {2, 0, 3}),
    ],
)
def test_top_k_and_top_p_leave_the_likeliest(settings, kept):
    logits = torch.log(torch.tensor([0.3, 0.1, 0.4, 0.2])).expand(2000, 4)
    tokens = pick(logits, generator=torch.Generator().manual_seed(0), **settings)
    assert set(tokens.tolist()) == kept


def test_generation_ends_when_every_row_has_stopped():
    assert drawn(Fixed([0.0, 1.0]), 9, temperature=0, stop=1) == [1]
    assert drawn(Fixed([0.0, 1.0]), 3, temperature=0, stop=0) == [1, 1, 1]
    assert drawn(Fixed([0.0, 1.0]), 0) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"n": -1}, "at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        drawn(Fixed([0.0, 1.0]), **({"n": 1} | settings))
    with pytest.raises(ValueError, match="time >= 1"):
        next(generate(Fixed([0.0]), torch.zeros(1, 0, dtype=torch.int64), 1))
