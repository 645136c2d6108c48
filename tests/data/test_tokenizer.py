import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers

from adana.data.config import DataConfig
from adana.data.errors import CorpusError, Unreachable
from adana.data.prepare import prepare
from adana.data.prepared import model_vocab_size
from adana.data.tokenizer import (
    END_OF_TEXT,
    Tokenizer,
    padded,
    ready_made,
    train_tokenizer,
)

TEXTS = [
    "def read(path):\n    return open(path).read()\n" * 3,
    "the quick brown fox jumps over the lazy dog, again and again. " * 3,
    "Grüße aus Köln \U0001f600 東京 <|endoftext|> <|endoftext|> 1234567890\r\n\t" * 3,
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 320)


@settings(deadline=None)
@given(st.text())
def test_any_text_survives_the_round_trip(tokenizer, text):
    (ids,) = tokenizer.encode_documents([text])
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes()[ids].sum() == len(text.encode())


def test_end_of_text_in_a_document_is_ordinary_text(tokenizer):
    text = f"before {END_OF_TEXT} after{END_OF_TEXT}"
    again = Tokenizer.from_json(tokenizer.to_json())
    for one in (tokenizer, again):
        (ids,) = one.encode_documents([text])
        assert one.end_of_text not in ids
        assert one.decode(ids) == text


def test_end_of_text_stands_for_no_bytes_and_every_byte_for_one(tokenizer):
    lengths = tokenizer.token_bytes()
    assert lengths.dtype == np.int64
    assert lengths.shape == (tokenizer.vocab_size,) == (320,)
    assert lengths[tokenizer.end_of_text] == 0
    assert (lengths == 0).sum() == 1
    assert (lengths == 1).sum() == 256


def test_training_twice_gives_the_same_tokenizer_in_any_order(tokenizer):
    again = train_tokenizer(TEXTS, 320)
    assert again.to_json() == tokenizer.to_json()
    assert again.fingerprint == tokenizer.fingerprint
    assert train_tokenizer(TEXTS[::-1], 320).to_json() == tokenizer.to_json()
    assert train_tokenizer(TEXTS, 319).fingerprint != tokenizer.fingerprint


def test_json_restores_the_tokenizer(tokenizer):
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.fingerprint == tokenizer.fingerprint
    assert again.end_of_text == tokenizer.end_of_text
    for one, other in zip(
        again.encode_documents(TEXTS), tokenizer.encode_documents(TEXTS), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_documents_are_encoded_one_by_one_in_order(tokenizer):
    together = tokenizer.encode_documents([*TEXTS, ""])
    assert len(together) == 4
    assert len(together[3]) == 0
    for text, ids in zip(TEXTS, together, strict=False):
        np.testing.assert_array_equal(tokenizer.encode_documents([text])[0], ids)


def test_smallest_vocabulary_is_bytes_and_end_of_text():
    smallest = train_tokenizer(["a"], 257)
    (ids,) = smallest.encode_documents(["é"])
    assert len(ids) == 2
    with pytest.raises(ValueError, match="256 bytes"):
        train_tokenizer(TEXTS, 256)


def test_corpus_too_small_for_the_vocabulary_says_what_would_work():
    with pytest.raises(CorpusError, match=r"yields 259 tokens\. Pass --vocab-size 259"):
        train_tokenizer(["ab ab"], 5000)
    assert train_tokenizer(["ab ab"], 259).vocab_size == 259
    with pytest.raises(
        CorpusError, match="too small for a vocabulary of 300, and for any"
    ) as caught:
        train_tokenizer(["a", "b"], 300)
    assert "257" not in str(caught.value), "the smallest there is, which is no advice"


def test_training_prints_nothing(capfd):
    train_tokenizer(TEXTS, 300)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_text_that_is_no_tokenizer_is_refused(text):
    with pytest.raises(ValueError, match="not the JSON of a tokenizer"):
        Tokenizer.from_json(text)


def test_tokenizer_without_end_of_text_is_refused(tokenizer):
    with pytest.raises(ValueError, match="ends every document"):
        Tokenizer.from_json(tokenizer.to_json().replace(END_OF_TEXT, "<|other|>"))


# --- ready-made tokenizers ------------------------------------------------------------------------


@pytest.fixture
def file(tokenizer, tmp_path):
    """A tokenizer of another maker: its end of text comes last, and it has other special tokens."""
    content = json.loads(tokenizer.to_json())
    content["model"]["vocab"].pop(END_OF_TEXT)
    vocab = {token: i for i, token in enumerate(content["model"]["vocab"])}
    content["model"]["vocab"] = vocab
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content["added_tokens"] = [
        {"id": len(vocab), "content": "<|pad|>", "special": True, **flags},
        {"id": len(vocab) + 1, "content": "<own>", "special": False, **flags},
        {"id": len(vocab) + 2, "content": "<|end_of_text|>", "special": True, **flags},
    ]
    content["truncation"] = {
        **{"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    return path


def test_tokenizer_from_a_file_is_used_as_it_is(file):
    tokenizer = ready_made(str(file))
    assert tokenizer.vocab_size == 322
    assert tokenizer.end_of_text == 321
    text = "the quick <|pad|> brown <|end_of_text|> fox <own>"
    (ids,) = tokenizer.encode_documents([text])
    assert tokenizer.decode(ids) == text
    assert 321 not in ids
    assert 319 not in ids
    assert tokenizer.token_bytes()[ids].sum() == len(text)
    assert (tokenizer.token_bytes()[[319, 321]] == 0).all()


def test_padded_vocabulary_has_room_and_its_padding_stands_for_nothing(file):
    tokenizer = ready_made(str(file))
    lengths = tokenizer.token_bytes(384)
    assert lengths.shape == (384,)
    np.testing.assert_array_equal(lengths[:322], tokenizer.token_bytes())
    assert (lengths[322:] == 0).all()
    with pytest.raises(ValueError, match=r"321 has no room for the 322 .* at least 384"):
        tokenizer.token_bytes(321)


def test_gpt2_is_padded_to_the_published_vocabulary(file):
    assert padded(50257) == 50304
    assert padded(50304) == 50304
    assert model_vocab_size(DataConfig(tokenizer=str(file))) == 384
    assert model_vocab_size(DataConfig(vocab_size=1000)) == 1000
    assert model_vocab_size(DataConfig(tokenizer="gpt2")) == 50304


def test_prepared_with_a_ready_made_tokenizer_it_is_in_the_record(file, tmp_path):
    for i in range(60):
        (tmp_path / f"{i}.txt").write_text(f"{i} " + TEXTS[i % 3])
    config = DataConfig(str(tmp_path), tokenizer=str(file), validation_fraction=0.3)
    shards = prepare(config, tmp_path / "cache")
    assert shards.manifest["tokenizer"] == str(file)
    assert shards.manifest["tokenizer_fingerprint"] == ready_made(str(file)).fingerprint
    assert shards.manifest["vocab_size"] == 322
    assert np.asarray(shards.train)[-1] == 321
    moved = file.rename(file.with_name("renamed.json"))
    again = prepare(DataConfig(str(tmp_path), 5000, 0.3, tokenizer=str(moved)), tmp_path / "cache")
    assert again.folder == shards.folder, "path and --vocab-size do not matter, content does"


def test_gpt2_comes_from_the_cache_of_the_hub_without_asking_it(file, monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *names: str(file))
    assert ready_made("gpt2").vocab_size == 322


def test_gpt2_that_cannot_be_had_offers_the_trained_one(monkeypatch):
    def nobody(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *names: None)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", nobody)
    with pytest.raises(Unreachable, match=r"Use --tokenizer trained .*tokenizer\.json"):
        ready_made("gpt2")


def test_unusable_tokenizer_files_are_named(tmp_path, file):
    with pytest.raises(CorpusError, match=r"'gpt3' cannot be read.*'trained', 'gpt2'"):
        ready_made("gpt3")
    content = json.loads(file.read_text())
    prefix = {**content["pre_tokenizer"], "add_prefix_space": True}
    for change in (
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": prefix},
    ):
        broken = tmp_path / "broken.json"
        broken.write_text(json.dumps({**content, **change}))
        with pytest.raises(CorpusError, match=r"broken\.json is no tokenizer.*give back the text"):
            ready_made(str(broken))


def test_ids_may_have_gaps_and_the_vocabulary_reaches_the_largest(tokenizer, tmp_path):
    content = json.loads(tokenizer.to_json())
    content["added_tokens"][0]["id"] = content["model"]["vocab"][END_OF_TEXT] = 70_000
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content))
    tokenizer = ready_made(str(file))
    assert tokenizer.vocab_size == 70_001
    assert tokenizer.token_bytes().shape == (70_001,)
    for i in range(60):
        (tmp_path / f"{i}.txt").write_text(f"{i} " + TEXTS[i % 3])
    config = DataConfig(str(tmp_path), tokenizer=str(file), validation_fraction=0.3)
    shards = prepare(config, tmp_path / "cache")
    assert shards.train.dtype == np.uint32
    assert shards.train[-1] == tokenizer.end_of_text == 70_000


def test_a_byte_fallback_is_refused_as_its_tokens_do_not_tell_their_bytes(tmp_path):
    space, tokens = "\u2581", [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {token: i for i, token in enumerate([*tokens, space, "q", "x", "</s>"])}
    inner = tokenizers.Tokenizer(models.BPE(vocab, [], byte_fallback=True))
    inner.normalizer = normalizers.Replace(" ", space)
    inner.decoder = decoders.Sequence(
        [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    assert inner.decode(inner.encode(" q\u00fc").ids) == " q\u00fc"
    inner.save(str(tmp_path / "llama.json"))
    with pytest.raises(CorpusError, match=r"llama\.json is no tokenizer.*byte fallback.*GPT-2"):
        ready_made(str(tmp_path / "llama.json"))
