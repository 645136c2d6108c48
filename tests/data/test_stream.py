import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.data.errors import CorpusError
from adana.data.stream import BatchStream, permute, validation_documents, validation_windows

TOKENS = np.arange(10_007, dtype=np.uint16)


def test_sequences_are_runs_of_the_tokens():
    batch = BatchStream(TOKENS, 16, seed=3).batch(5, 7)
    assert batch.dtype == np.int64
    assert batch.shape == (7, 17)
    assert (np.diff(batch, axis=1) == 1).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(17, 400), st.integers(0, 2**70), st.integers(0, 2000), st.integers(1, 9))
def test_a_batch_is_its_micro_batches_one_after_the_other(length, seed, first, size):
    stream = BatchStream(TOKENS[:length], 16, seed)
    whole = stream.batch(first, 16)
    parts = [stream.batch(i, min(size, first + 16 - i)) for i in range(first, first + 16, size)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(whole, BatchStream(TOKENS[:length], 16, seed).batch(first, 16))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 600), st.integers(-5, 5), st.integers(0, 3))
def test_an_epoch_visits_every_window_exactly_once(length, extra, seed, epoch):
    tokens = np.arange(length + 1 + extra)
    stream = BatchStream(tokens, length, seed)
    count = stream.windows_per_epoch
    starts = np.sort(stream.batch(epoch * count, count)[:, 0])
    assert (np.diff(starts) == length).all()
    assert 0 <= starts[0] < length
    assert starts[-1] + length < len(tokens)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 2**64 - 1))
def test_permutation_is_one_to_one(size, key):
    result = permute(np.arange(size, dtype=np.uint64), size, key)
    np.testing.assert_array_equal(np.sort(result), np.arange(size))


def test_permutation_of_a_huge_range_needs_no_memory():
    result = permute(np.arange(1000, dtype=np.uint64), 2**40 + 1, 7)
    assert len(np.unique(result)) == 1000
    assert result.max() <= 2**40
    assert result.max() > 2**39


def test_every_window_comes_first_equally_often():
    first = [int(permute(np.zeros(1, dtype=np.uint64), 5, key)[0]) for key in range(2000)]
    counts = np.bincount(first, minlength=5)
    assert ((counts - 400) ** 2 / 400).sum() < 18.5  # chi-square, 4 degrees, p = 0.001


def test_different_seeds_give_different_orders():
    batches = [BatchStream(TOKENS, 16, seed).batch(0, 100)[:, 0] for seed in range(4)]
    for i in range(4):
        for j in range(i):
            assert (batches[i] != batches[j]).any()


def test_two_epochs_differ_in_order_and_in_starting_point():
    stream = BatchStream(TOKENS, 16, seed=0)
    count = stream.windows_per_epoch
    epochs = [stream.batch(epoch * count, count)[:, 0] for epoch in range(8)]
    assert len({tuple(np.argsort(starts)) for starts in epochs}) == 8
    assert len({int(starts.min()) for starts in epochs}) > 1


def test_the_order_never_changes_between_versions():
    stream = BatchStream(np.arange(1000), 10, seed=42)
    assert stream.windows_per_epoch == 99
    assert stream.batch(0, 4)[:, 0].tolist() == EXPECTED_FIRST
    assert stream.batch(97, 4)[:, 0].tolist() == EXPECTED_CROSSING


EXPECTED_FIRST = [440, 390, 20, 880]
EXPECTED_CROSSING = [310, 260, 821, 171]


def test_windows_and_tokens_per_epoch():
    stream = BatchStream(np.arange(100), 10, seed=0)
    assert stream.windows_per_epoch == 9
    assert stream.tokens_per_epoch == 90
    assert BatchStream(np.arange(11), 10, seed=0).windows_per_epoch == 1


def test_an_empty_batch_has_no_sequences():
    assert BatchStream(TOKENS, 16, seed=0).batch(3, 0).shape == (0, 17)


def test_corpus_shorter_than_a_window_is_an_error_with_the_numbers():
    assert BatchStream(TOKENS[:17], 16, seed=0).batch(0, 3)[:, 0].tolist() == [0, 0, 0]
    with pytest.raises(CorpusError, match="16 tokens, fewer than the 17"):
        BatchStream(TOKENS[:16], 16, seed=0)


def test_impossible_requests_are_errors():
    with pytest.raises(ValueError, match="sequence_length is 0"):
        BatchStream(TOKENS, 0, seed=0)
    with pytest.raises(ValueError, match="first is -1"):
        BatchStream(TOKENS, 16, seed=0).batch(-1, 4)


def test_validation_windows_are_spread_evenly_over_the_tokens():
    windows = validation_windows(TOKENS[:1001], 10, max_tokens=55)
    assert windows.dtype == np.int64
    assert windows.shape == (5, 11)
    assert windows[:, 0].tolist() == [0, 200, 400, 600, 800]
    assert (np.diff(windows, axis=1) == 1).all()


@given(st.integers(11, 10_000), st.integers(10, 20_000))
def test_validation_windows_never_repeat_and_never_exceed_what_was_asked(length, max_tokens):
    windows = validation_windows(TOKENS[:length], 10, max_tokens)
    starts = windows[:, 0]
    assert (np.diff(starts) >= 10).all()
    assert 10 <= len(windows) * 10 <= max_tokens


def test_validation_windows_are_known_by_the_document_that_they_begin_in(monkeypatch):
    monkeypatch.setattr("adana.data.stream._SCAN", 7)
    tokens = np.full(1001, 5)
    tokens[[199, 450, 1000]] = 0  # ends of three documents: the next begins at 200, at 451
    documents = validation_documents(tokens, 10, 55, end_of_text=0)
    assert documents.tolist() == [0, 1, 1, 2, 2]  # windows from 0, 200, 400, 600, 800
    tokens[[400, 401]] = 0  # one begins at 401 and is empty
    assert validation_documents(tokens, 10, 55, end_of_text=0).tolist() == [0, 1, 1, 4, 4]
    assert validation_documents(tokens, 10, 55, end_of_text=9).tolist() == [0] * 5


def test_validation_windows_stop_where_the_tokens_do():
    assert len(validation_windows(TOKENS[:100], 10, max_tokens=10**9)) == 9
    assert len(validation_windows(TOKENS[:101], 10, max_tokens=10**9)) == 10


def test_no_validation_window_is_an_error():
    with pytest.raises(CorpusError, match="10 tokens, fewer than the 11"):
        validation_windows(TOKENS[:10], 10, max_tokens=100)
    with pytest.raises(CorpusError, match="evaluation of 9 tokens"):
        validation_windows(TOKENS, 10, max_tokens=9)
