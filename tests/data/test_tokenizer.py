import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.data.errors import CorpusError
from adana.data.tokenizer import END_OF_TEXT, Tokenizer, train_tokenizer

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
