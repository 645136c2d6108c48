"""Our models in transformers: the same numbers, its own verbs."""

import pytest
import torch
import torch.nn.functional as F

from adana.data.tokenizer import train_tokenizer
from adana.nn import EnokiConfig, LSTMConfig, Qwen3Config, build_model
from adana.nn.generate import generate
from adana.runs import RunError

transformers = pytest.importorskip("transformers", reason='needs: pip install "adana[hf]"')
hf = pytest.importorskip("adana.hf")

TOKENS = 280
SHAPES = [
    EnokiConfig(heads=2, layers=2, head_dim=8, vocab_size=290, sequence_length=24),
    Qwen3Config(heads=2, layers=2, head_dim=8, vocab_size=290, sequence_length=24),
    LSTMConfig(width=16, layers=2, vocab_size=290, sequence_length=24),
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([f"def f_{i}(x): return x * {i * i}\n" for i in range(300)], TOKENS)


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.family)
def exported(request, tokenizer, tmp_path_factory):
    """A model of ours that is not in its initial state, and the folder it was exported to."""
    model = build_model(request.param, seed=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.25)
    folder = tmp_path_factory.mktemp("hf") / request.param.family
    hf.export_model(folder, model, tokenizer, "# A card\n")
    return model, folder


@pytest.fixture
def tokens():
    return torch.randint(0, TOKENS, (2, 20), generator=torch.Generator().manual_seed(0))


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


def test_a_loaded_model_gives_the_same_logits_to_the_bit(exported, tokens):
    model, folder = exported
    with torch.no_grad():
        assert torch.equal(load(folder)(tokens).logits, model(tokens))


def test_the_folder_holds_no_pickle_and_no_code(exported):
    _, folder = exported
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert "auto_map" not in (folder / "config.json").read_text()


def test_greedy_generation_is_our_own_past_the_length_of_the_context(exported, tokens, tokenizer):
    model, folder = exported
    prompt = tokens[:1, :6]
    made = load(folder).generate(prompt, max_new_tokens=30, do_sample=False)
    end = tokenizer.end_of_text
    own = generate(model, prompt, 30, temperature=0, vocab_size=TOKENS, stop=end)
    assert made[0, 6:].tolist() == [int(token) for token in own]


def test_sampling_never_draws_what_only_pads_the_vocabulary(exported, tokens):
    _, folder = exported
    loaded = load(folder)
    torch.manual_seed(0)
    made = loaded.generate(tokens, max_new_tokens=40, do_sample=True, temperature=5.0, top_k=0)
    assert int(made.max()) < TOKENS


def test_the_loss_is_the_cross_entropy_of_the_next_token(exported, tokens):
    model, folder = exported
    labels = tokens.clone()
    labels[1, 10:] = -100
    loss = load(folder)(tokens, labels=labels).loss
    expected = F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(loss, expected)
    loss.backward()


def test_a_model_can_be_saved_and_loaded_again(exported, tokens, tmp_path):
    loaded = load(exported[1])
    loaded.save_pretrained(tmp_path / "again")
    again = load(tmp_path / "again")
    assert again.config.model_config == exported[0].config
    assert torch.equal(again(tokens).logits, loaded(tokens).logits)


def test_a_model_from_its_configuration_alone_has_the_weights_of_its_seed(exported, tokens):
    config = transformers.AutoConfig.from_pretrained(exported[1])
    config.seed = 5
    fresh = transformers.AutoModelForCausalLM.from_config(config).eval()
    assert torch.equal(fresh(tokens).logits, build_model(exported[0].config, 5)(tokens))


def test_the_tokenizer_reads_and_writes_as_ours(exported, tokenizer):
    theirs = transformers.AutoTokenizer.from_pretrained(exported[1])
    text = "def f(x): <|endoftext|>  return 'héllo' \U0001f600\n"
    (ours,) = tokenizer.encode_documents([text])
    assert theirs(text)["input_ids"] == ours.tolist()
    assert theirs.decode(ours) == text
    assert theirs.eos_token_id == tokenizer.end_of_text
    assert theirs.model_max_length == 24


def test_padding_that_a_token_would_see_is_refused(exported, tokens):
    loaded = load(exported[1])
    right = torch.ones_like(tokens)
    right[1, 15:] = 0
    torch.testing.assert_close(
        loaded(tokens, attention_mask=right).logits[1, :15], loaded(tokens).logits[1, :15]
    )
    with pytest.raises(ValueError, match="Pad on the right"):
        loaded(tokens, attention_mask=right.flip(1))
    with pytest.raises(ValueError, match="prompts of equal length"):
        loaded.generate(tokens, attention_mask=right, max_new_tokens=1, do_sample=False)


def test_the_usual_names_say_the_shape(exported):
    model, folder = exported
    config = transformers.AutoConfig.from_pretrained(folder)
    assert config.vocab_size == model.config.vocab_size
    assert config.hidden_size == model.config.width
    assert config.num_hidden_layers == model.config.depth
    assert config.max_position_embeddings == model.config.sequence_length
    assert config.use_cache is False


def test_a_vocabulary_is_not_resized(exported):
    with pytest.raises(NotImplementedError, match="--vocab-size"):
        load(exported[1]).resize_token_embeddings(300)


def test_a_folder_with_something_in_it_is_not_written_over(exported, tokenizer, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="not an empty folder"):
        hf.export_model(tmp_path, exported[0], tokenizer, "")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
