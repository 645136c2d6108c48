import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.data import BatchStream, ShardError, Tokens, validation_windows
from adana.data.seen import SeenDigests

WHOLE = np.random.default_rng(0).integers(0, 60_000, 1000).astype("<u2")


@pytest.fixture(scope="module", params=[1, 7, 64, 500, 1000, 5000])
def tokens(request, tmp_path_factory):
    folder, per_file, paths = tmp_path_factory.mktemp("files"), request.param, []
    for number, start in enumerate(range(0, len(WHOLE), per_file)):
        paths.append(folder / f"{number}.bin")
        WHOLE[start : start + per_file].tofile(paths[-1])
    return Tokens(paths, WHOLE.dtype, per_file)


def test_files_look_like_one_array(tokens):
    assert len(tokens) == 1000
    assert tokens.shape == (1000,)
    assert tokens.dtype == WHOLE.dtype
    np.testing.assert_array_equal(np.asarray(tokens), WHOLE)
    for index in (0, 999, -1, -1000, slice(5, 9), slice(None), slice(990, 2000), slice(9, 5)):
        np.testing.assert_array_equal(tokens[index], WHOLE[index])
    for index in (slice(0, 1000, 7), slice(50, 20, -3), [3, 900, -1], np.array([[0], [999]])):
        np.testing.assert_array_equal(tokens[index], WHOLE[index])
    for index in (1000, -1001, [0, 1000]):
        with pytest.raises(IndexError):
            tokens[index]


def test_gathered_runs_may_cross_files(tokens):
    starts = np.arange(0, 967)
    runs = tokens.gather(starts, 33)
    assert runs.dtype == np.int64
    np.testing.assert_array_equal(runs, WHOLE[starts[:, None] + np.arange(33)])
    assert tokens.gather(starts[:0], 33).shape == (0, 33)
    for start in (-1, 968):
        with pytest.raises(IndexError, match="leave the 1000"):
            tokens.gather(np.array([start]), 33)


def test_streams_over_files_and_over_an_array_agree(tokens):
    np.testing.assert_array_equal(
        BatchStream(tokens, 16, 1).batch(5, 90), BatchStream(WHOLE, 16, 1).batch(5, 90)
    )
    np.testing.assert_array_equal(
        validation_windows(tokens, 16, 300), validation_windows(WHOLE, 16, 300)
    )


def test_tokens_may_be_sent_to_another_process(tokens):
    again = pickle.loads(pickle.dumps(tokens))
    np.testing.assert_array_equal(np.asarray(again), WHOLE)


def test_a_file_of_another_length_is_refused(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        WHOLE[:10].tofile(path)
    with pytest.raises(ValueError, match="holds 10 tokens, expected 11"):
        Tokens(paths, WHOLE.dtype, 11)


def test_a_file_cut_short_since_it_was_opened_is_named_by_every_read(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        WHOLE[:500].tofile(path)
    tokens = Tokens(paths, WHOLE.dtype, 500)
    os.truncate(paths[1], 10)
    np.testing.assert_array_equal(tokens[:500], WHOLE[:500])
    reads = (
        lambda: tokens[700],
        lambda: tokens[490:510],
        lambda: tokens[[3, 700]],
        lambda: tokens.gather(np.array([3, 600]), 9),
        lambda: np.asarray(tokens),
    )
    for read in reads:
        with pytest.raises(ShardError, match=r"b was cut from 1000 bytes to 10 while .* delete"):
            read()


def test_a_file_replaced_since_it_was_opened_is_read_as_it_was(tmp_path):
    path = tmp_path / "a"
    WHOLE.tofile(path)
    tokens = Tokens([path], WHOLE.dtype, len(WHOLE))
    WHOLE[:5].tofile(tmp_path / "new")
    os.replace(tmp_path / "new", path)
    np.testing.assert_array_equal(np.asarray(tokens), WHOLE)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 300), max_size=40), max_size=20))
def test_digests_are_new_exactly_once(batches):
    seen, known = SeenDigests(), set()
    for batch in batches:
        digests = [number.to_bytes(2, "big") + bytes(14) for number in batch]
        expected = []
        for digest in digests:
            expected.append(digest not in known)
            known.add(digest)
        assert seen.new(digests) == expected
    assert len(seen) == len(known)
    again = SeenDigests(b"".join(known))
    assert len(again) == len(known)
    assert not any(again.new(sorted(known)))


def test_memory_of_digests_is_sixteen_bytes_each():
    seen = SeenDigests()
    values = np.random.default_rng(0).bytes(16 * 20_000)
    for start in range(0, len(values), 1600):
        seen.new([values[i : i + 16] for i in range(start, start + 1600, 16)])
    assert len(seen) == 20_000
    assert sum(run.nbytes for run in seen._runs) == 16 * 20_000
    assert len(seen._runs) < 20
