import math

import pytest
import torch

from adana.nn import Enoki, EnokiConfig, count_parameters
from adana.nn.attention import rotary_table, rotate

from .formulas import attended, check_logits, normed, turn

TINY = EnokiConfig(heads=2, layers=2, head_dim=16, vocab_size=97, sequence_length=24)


def test_the_exact_count_is_that_of_the_built_model():
    for config in (TINY, EnokiConfig(**{**TINY.__dict__, "qk_norm": False})):
        built = sum(p.numel() for p in Enoki(config).parameters())
        assert built == count_parameters(config).exact


def test_initial_weights_depend_on_name_and_seed_only():
    first, again, other = Enoki(TINY, seed=1), Enoki(TINY, seed=1), Enoki(TINY, seed=2)
    deeper = Enoki(EnokiConfig(**{**TINY.__dict__, "layers": 3}), seed=1)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(first.embedding.weight, deeper.embedding.weight)
    assert torch.equal(first.blocks[1].mlp_in.weight, deeper.blocks[1].mlp_in.weight)
    assert not torch.equal(first.blocks[0].mlp_in.weight, first.blocks[1].mlp_in.weight)


def test_initial_scales_follow_scaled_gpt():
    model = Enoki(EnokiConfig(heads=4, layers=3, head_dim=64, vocab_size=500, sequence_length=8))
    d, layers = 256, 3
    expected = {
        "embedding.weight": d**-0.5,
        "head.weight": d**-0.5,
        "blocks.1.attention.qkv.weight": d**-0.5,
        "blocks.1.attention.out.weight": (2 * layers * d) ** -0.5,
        "blocks.1.mlp_in.weight": d**-0.5,
        "blocks.1.mlp_out.weight": (2 * layers * 4 * d) ** -0.5,
    }
    parameters = dict(model.named_parameters())
    for name, std in expected.items():
        assert parameters[name].std().item() == pytest.approx(std, rel=0.02)
    assert parameters["norm.weight"].eq(1).all()


def test_initial_loss_is_that_of_unit_variance_logits():
    config = EnokiConfig(heads=4, layers=2, head_dim=32, vocab_size=2000, sequence_length=64)
    tokens = torch.randint(0, 2000, (8, 65), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = Enoki(config)(tokens[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(2000) + 0.5, abs=0.1)


def test_a_token_sees_no_later_token():
    model = Enoki(TINY)
    tokens = torch.randint(0, 97, (1, 24), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 12] = (changed[0, 12] + 1) % 97
    with torch.no_grad():
        a, b = model(tokens), model(changed)
    assert torch.allclose(a[:, :12], b[:, :12], atol=1e-5)
    assert not torch.allclose(a[:, 12:], b[:, 12:], atol=1e-3)


def test_rotation_makes_scores_a_function_of_distance():
    rotary = rotary_table(32, 16)
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))

    def score(i: int, j: int) -> float:
        turned = [rotate(x[None], rotary[n : n + 1])[0] for x, n in ((q, i), (k, j))]
        return torch.dot(*turned).item()

    assert score(3, 9) == pytest.approx(score(20, 26), abs=1e-4)
    assert score(3, 9) != pytest.approx(score(3, 10), abs=1e-4)
    quarter_turn = rotate(
        torch.tensor([[1.0, 0.0, 0.0, 2.0]]), torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    )
    assert quarter_turn.tolist() == [[0.0, 1.0, 0.0, 2.0]]


def test_rotation_angles_follow_the_specification():
    table = rotary_table(5, 8)
    for position in range(5):
        for pair in range(4):
            angle = position * 10_000 ** (-2 * pair / 8)
            assert table[position, pair, 0].item() == pytest.approx(math.cos(angle), abs=1e-6)
            assert table[position, pair, 1].item() == pytest.approx(math.sin(angle), abs=1e-6)


def test_a_context_longer_than_the_model_was_built_for_is_refused():
    with pytest.raises(ValueError, match="at most 24"):
        Enoki(TINY)(torch.zeros(1, 25, dtype=torch.long))


# --- the forward pass -----------------------------------------------------------------------------


def by_the_formulas(w, tokens):
    """spec/training.md section 1.1, one head at a time."""
    h, c = TINY.heads, TINY.head_dim
    x = w["embedding.weight"][tokens]
    for layer in range(TINY.depth):
        place = f"blocks.{layer}."
        b = {name.removeprefix(place): p for name, p in w.items() if name.startswith(place)}
        fused = normed(x, b["attention_norm.weight"]) @ b["attention.qkv.weight"].T
        outputs = []
        for i in range(h):
            q, k, v = (fused[:, c * (h * part + i) : c * (h * part + i + 1)] for part in range(3))
            q = turn(normed(q, b["attention.q_norm.weight"]))
            k = turn(normed(k, b["attention.k_norm.weight"]))
            outputs.append(attended(q, k, v))
        x = x + torch.cat(outputs, -1) @ b["attention.out.weight"].T
        inner = normed(x, b["mlp_norm.weight"]) @ b["mlp_in.weight"].T
        gelu = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
        x = x + gelu @ b["mlp_out.weight"].T
    return normed(x, w["norm.weight"]) @ w["head.weight"].T


def test_logits_follow_the_specification():
    check_logits(Enoki(TINY, seed=5), by_the_formulas)
