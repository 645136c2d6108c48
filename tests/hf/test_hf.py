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


UPPER = torch.ones(2, 1, 20, 20).tril()
REFUSED = [
    ({"past_key_values": ()}, "past_key_values: there is no cache"),
    ({"inputs_embeds": torch.zeros(2, 20, 16)}, "inputs_embeds: pass the tokens"),
    ({"output_hidden_states": True}, "output_hidden_states"),
    ({"output_attentions": True}, "output_attentions"),
    ({"position_ids": torch.arange(20) % 10}, "position_ids must count"),
    ({"position_ids": torch.arange(19)}, "position_ids must count"),
    ({"cache_position": torch.arange(1, 21)}, "cache_position must count"),
    ({"token_type_ids": torch.ones(2, 20)}, "token_type_ids must be 0"),
    ({"attention_mask": UPPER}, r"in the shape \(batch, time\); got \(2, 1, 20, 20\)"),
    ({"attention_mask": {"full": UPPER}}, "got dict"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_would_be_ignored_and_change_the_result_is_refused(exported, tokens, given, message):
    with pytest.raises(ValueError, match=message):
        load(exported[1])(tokens, **given)


def test_misspelt_arguments_and_missing_tokens_are_refused(exported, tokens):
    loaded = load(exported[1])
    with pytest.raises(TypeError, match="no argument 'atention_mask'; they take input_ids"):
        loaded(tokens, atention_mask=torch.ones_like(tokens))
    with pytest.raises(TypeError, match="need input_ids"):
        loaded()


def test_arguments_that_say_what_is_so_anyway_are_taken(exported, tokens):
    loaded = load(exported[1])
    right = torch.ones_like(tokens)
    right[1, 15:] = 0
    positions = (right.cumsum(1) - 1).masked_fill(right == 0, 1)
    usual = {
        "past_key_values": None,
        "output_hidden_states": False,
        "use_cache": False,
        "position_ids": positions,
        "cache_position": torch.arange(20),
        "token_type_ids": torch.zeros_like(tokens),
    }
    seen = loaded(tokens, attention_mask=right, **usual).logits
    assert torch.equal(seen, loaded(tokens).logits)


def test_a_tuple_is_returned_where_one_is_asked_for(exported, tokens):
    loaded = load(exported[1])
    expected = loaded(tokens, labels=tokens)
    (logits,) = loaded(tokens, return_dict=False)
    loss, also = loaded(tokens, labels=tokens, return_dict=False)
    assert torch.equal(logits, expected.logits)
    assert torch.equal(also, expected.logits)
    assert torch.equal(loss, expected.loss)


def test_generation_refuses_to_return_what_the_model_does_not_keep(exported, tokens):
    with pytest.raises(ValueError, match="output_hidden_states"):
        load(exported[1]).generate(
            tokens, max_new_tokens=1, output_hidden_states=True, return_dict_in_generate=True
        )


def test_beams_find_a_text_as_likely_as_the_greedy_one_or_more(exported, tokens):
    """Beams call the model from another place, and reorder what there is of a cache."""
    loaded, prompt = load(exported[1]), tokens[:1, :6]

    @torch.no_grad()
    def likelihood(text):
        rows = torch.log_softmax(loaded(text).logits[0, 5:-1, :TOKENS], -1)
        return float(rows.gather(1, text[0, 6:, None]).sum())

    made = {
        beams: loaded.generate(
            prompt, max_new_tokens=2, num_beams=beams, do_sample=False, eos_token_id=TOKENS - 1
        )
        for beams in (1, 270)
    }
    assert likelihood(made[270]) >= likelihood(made[1]) - 1e-5


def test_trainer_trains_and_evaluates_it(exported, tokens, tmp_path):
    pytest.importorskip("accelerate", reason="Trainer needs accelerate")
    loaded = load(exported[1])
    row = {"input_ids": tokens[0], "attention_mask": torch.ones(20, dtype=torch.int64)}
    rows = [{**row, "labels": tokens[0]}] * 8
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=2, learning_rate=1e-3,
        gradient_accumulation_steps=2, report_to=[], save_strategy="no", disable_tqdm=True,
        use_cpu=True, logging_steps=1,
    )  # fmt: skip
    trainer = transformers.Trainer(loaded, arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before


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
