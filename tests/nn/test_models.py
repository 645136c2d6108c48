"""What every model promises, whatever its family."""

import pytest
import torch
from torch import nn

from adana.nn import (
    Enoki,
    EnokiConfig,
    LSTMConfig,
    LSTMModel,
    Qwen3,
    Qwen3Config,
    build_model,
    count_parameters,
)

VOCAB, TIME = 97, 24
COMMON = {"vocab_size": VOCAB, "sequence_length": TIME}
TINY = {
    "enoki": EnokiConfig(heads=2, layers=2, head_dim=16, **COMMON),
    "qwen3": Qwen3Config(heads=2, layers=2, head_dim=16, **COMMON),
    "lstm": LSTMConfig(width=32, **COMMON),
}
TRANSFORMERS = ["enoki", "qwen3"]
every_family = pytest.mark.parametrize("family", TINY)


def tokens(batch=3, seed=0):
    return torch.randint(0, VOCAB, (batch, TIME), generator=torch.Generator().manual_seed(seed))


def same_weights(a, b):
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(name == other and torch.equal(x, y) for (name, x), (other, y) in pairs)


@every_family
def test_the_built_model_has_the_exact_count_and_the_common_parts(family):
    config = TINY[family]
    model = build_model(config)
    assert sum(p.numel() for p in model.parameters()) == count_parameters(config).exact
    assert model.config == config
    assert isinstance(model.blocks, nn.ModuleList)
    assert len(model.blocks) == config.depth
    assert model.embedding.weight is not model.head.weight
    assert model(tokens()).shape == (3, TIME, VOCAB)


def test_the_published_rung_of_qwen3_has_its_exact_count():
    with torch.device("meta"):
        model = Qwen3(Qwen3Config(heads=4), seed=None)
    assert sum(p.numel() for p in model.parameters()) == 80_882_176


@every_family
def test_a_token_sees_no_later_token(family):
    model, text = build_model(TINY[family]), tokens(1)
    changed = text.clone()
    changed[0, 12] = (changed[0, 12] + 1) % VOCAB
    with torch.no_grad():
        a, b = model(text), model(changed)
    assert torch.allclose(a[:, :12], b[:, :12], atol=1e-5)
    assert (a[:, 12:] - b[:, 12:]).abs().amax(-1).min() > 1e-4  # all later ones see it


@every_family
@pytest.mark.parametrize("chunk", [None, 10])
def test_the_losses_are_those_of_the_logits(family, chunk):
    model, text = build_model(TINY[family]), tokens()
    targets = tokens(seed=1)
    logits, terms = model(text), model(text, targets, z_coeff=0.1, chunk=chunk)
    cross_entropy = nn.functional.cross_entropy(logits.mT, targets, reduction="none")
    z = logits.logsumexp(-1).square()
    torch.testing.assert_close(terms.loss, cross_entropy.mean() + 0.1 * z.mean())
    torch.testing.assert_close(terms.cross_entropy, cross_entropy.mean(1))
    torch.testing.assert_close(terms.z, z.mean(1))
    terms.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_family
def test_autocast_keeps_the_residual_stream_in_float32_and_the_losses_close(family):
    model = build_model(TINY[family])
    exact = model(tokens(), tokens(seed=1)).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.run_blocks(tokens()).dtype == torch.float32
        for chunk in (None, 10):
            loss = model(tokens(), tokens(seed=1), chunk=chunk).loss
            assert loss.item() == pytest.approx(exact.item(), rel=5e-3)
            loss.backward()


def test_on_a_cpu_without_bfloat16_the_lstm_computes_in_float32(monkeypatch):
    monkeypatch.setattr("adana.nn.lstm.CPU_BFLOAT16", False)
    block = build_model(TINY["lstm"]).blocks[0]
    x = torch.randn(2, 3, TINY["lstm"].width)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = block(x)
    assert torch.equal(inside, block(x))


@every_family
def test_a_context_longer_than_the_model_was_built_for_is_refused(family):
    with pytest.raises(ValueError, match="got 25 tokens, the model was built for at most 24"):
        build_model(TINY[family])(torch.zeros(1, 25, dtype=torch.long))


def test_a_configuration_of_another_family_is_refused():
    with pytest.raises(TypeError, match="Enoki is built from a EnokiConfig, got a Qwen3Config"):
        Enoki(TINY["qwen3"])


# --- initial weights ------------------------------------------------------------------------------


@every_family
def test_initial_weights_depend_on_name_and_seed_only(family):
    config = TINY[family]
    deeper = build_model(type(config)(**{**vars(config), "layers": 3, "init": "standard"}), seed=1)
    first, again, other = (
        build_model(type(config)(**{**vars(config), "init": "standard"}), seed)
        for seed in (1, 1, 2)
    )
    assert same_weights(first, again)
    assert not torch.equal(first.head.weight, other.head.weight)
    names = dict(deeper.named_parameters())
    assert all(torch.equal(p, names[name]) for name, p in first.named_parameters())
    matrices = [p for p in first.blocks.parameters() if p.ndim == 2]
    assert not any(
        torch.equal(a, b)
        for i, a in enumerate(matrices)
        for b in matrices[:i]
        if a.shape == b.shape
    )


@every_family
def test_a_model_from_the_meta_device_starts_as_one_built_whole(family):
    with torch.device("meta"):
        model = build_model(TINY[family], seed=None)
    assert all(p.is_meta for p in model.parameters())
    model.to_empty(device="cpu")
    for x in (*model.parameters(), *model.buffers()):
        x.data.fill_(torch.nan)
    model.init_weights(3)
    whole = build_model(TINY[family], seed=3)
    assert same_weights(model, whole)
    assert torch.equal(model(tokens()), whole(tokens()))


@every_family
def test_names_that_wrappers_add_do_not_change_the_weights(family):
    model = build_model(TINY[family], seed=None)
    model.blocks[0] = torch.compile(model.blocks[0])
    assert any("_orig_mod" in name for name, _ in model.named_parameters())
    model.init_weights(0)
    pairs = zip(model.parameters(), build_model(TINY[family]).parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


LARGER = {"vocab_size": 500, "sequence_length": 8}
D, L = 256, 3
RESIDUAL = {
    "enoki": {"attention.out.weight": D, "mlp_out.weight": 4 * D},
    "qwen3": {"attention.out.weight": D, "mlp.down.weight": 3 * D},
    "lstm": {},
}
SHAPES = {
    "enoki": lambda init: EnokiConfig(heads=4, layers=L, head_dim=64, init=init, **LARGER),
    "qwen3": lambda init: Qwen3Config(heads=2, layers=L, init=init, **LARGER),
    "lstm": lambda init: LSTMConfig(width=D, layers=L, init=init, **LARGER),
}


@every_family
@pytest.mark.parametrize(
    ("init", "embedding", "matrix", "residual"),
    [
        ("scaled-gpt", D**-0.5, lambda n: n**-0.5, lambda n: (2 * n * L) ** -0.5),
        ("standard", 1.0, lambda n: n**-0.5, lambda n: n**-0.5),
        ("small-std", 0.02, lambda n: 0.02, lambda n: 0.02 / (2 * L) ** 0.5),
    ],
)
def test_initial_scales_follow_the_scheme(family, init, embedding, matrix, residual):
    model = build_model(SHAPES[family](init))
    endings = RESIDUAL[family]
    matrices = 0
    for name, p in model.named_parameters():
        if p.ndim < 2:
            continue
        matrices += 1
        ending = next((ending for ending in endings if name.endswith(ending)), None)
        if name == "embedding.weight":
            expected = embedding
        elif ending is not None:
            assert p.shape[1] == endings[ending]
            expected = residual(endings[ending])
        else:
            expected = matrix(p.shape[1])
        assert p.std().item() == pytest.approx(expected, rel=0.02), name
        assert abs(p.mean().item()) < 0.02 * expected, name
    assert matrices == 2 + L * {"enoki": 4, "qwen3": 7, "lstm": 2}[family]


@every_family
def test_norm_gains_start_at_one(family):
    gains = [p for name, p in build_model(TINY[family]).named_parameters() if "norm" in name]
    assert len(gains) == 1 + 2 * {"enoki": 4, "qwen3": 4, "lstm": 1}[family]
    assert all(g.eq(1).all() for g in gains)


def test_the_forget_gates_of_an_lstm_start_open():
    for block in LSTMModel(TINY["lstm"]).blocks:
        total = (block.lstm.bias_ih_l0 + block.lstm.bias_hh_l0).view(4, -1)
        assert total[1].eq(1).all()  # torch's second gate is the forget gate
        assert total[[0, 2, 3]].eq(0).all()


# --- compiling ------------------------------------------------------------------------------------


def assert_compiles_whole(family, backend):
    model = build_model(TINY[family])
    block, x = model.blocks[0], torch.randn(2, TIME, 32, requires_grad=True)
    expected = block(x, model.rotary)
    found = torch.compile(block, fullgraph=True, backend=backend)(x, model.rotary)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = (torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_a_block_is_one_graph_without_complex_numbers(family):
    graphs = []

    def record(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    assert_compiles_whole(family, record)
    assert len(graphs) == 1
    assert "complex" not in graphs[0].code
    assert "scaled_dot_product_attention" in graphs[0].code  # the code is what the check reads


@pytest.mark.slow
@pytest.mark.parametrize("family", TRANSFORMERS)
def test_a_block_compiled_by_inductor_agrees_and_warns_of_nothing(family, recwarn):
    assert_compiles_whole(family, "inductor")
    assert not [w for w in recwarn if "complex" in str(w.message)]
