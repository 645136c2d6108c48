import hashlib
import json
import os

import numpy as np
import pytest

from adana.data.errors import ShardError
from adana.data.shards import VERIFIED, open_shards, token_dtype, write_manifest, write_tokenizer
from adana.data.tokenizer import train_tokenizer
from adana.data.writer import Mark, SplitWriter

TRAIN = ["one two three\n", "four five six\n", "seven"]
VALIDATION = ["eight nine\r\n", "zwölf"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TRAIN, 260)


FILES = [
    "train-00000.bin",
    "train-00001.bin",
    "validation-00000.bin",
    "tokenizer.json",
    "manifest.json",
]
"""What `write` makes with its default number of tokens a file, the last one of them being short."""


def writer_of(folder, split, tokenizer, per_file):
    return SplitWriter(
        folder,
        split,
        dtype=token_dtype(tokenizer.vocab_size),
        end=tokenizer.end_of_text,
        shard_tokens=per_file,
        mark=Mark(),
    )


def write(folder, tokenizer, train=TRAIN, per_file=30):
    splits, sums = {}, {}
    for name, texts in {"train": train, "validation": VALIDATION}.items():
        with writer_of(folder, name, tokenizer, per_file) as writer:
            for text, ids in zip(texts, tokenizer.encode_documents(texts), strict=True):
                writer.append(ids, len(text.encode()))
            mark, files = writer.mark(), writer.finish()
        counts = {"tokens": mark.tokens, "documents": mark.documents, "bytes": mark.bytes}
        splits[name] = {**counts, "files": list(files)}
        sums |= files
    write_tokenizer(folder, tokenizer)
    write_manifest(
        folder,
        tokenizer=tokenizer,
        tokenizer_name="trained",
        splits=splits,
        sums=sums,
        shard_tokens=per_file,
        corpus={"source": "test", "notes": []},
        split_rule={"rule": "by hand"},
        settings={},
    )
    return folder


def test_each_document_ends_with_end_of_text(tmp_path, tokenizer):
    shards = open_shards(write(tmp_path, tokenizer))
    end = f"{tokenizer.decode([tokenizer.end_of_text])}"
    assert tokenizer.decode(shards.train) == "".join(text + end for text in TRAIN)
    assert tokenizer.decode(shards.validation) == "".join(text + end for text in VALIDATION)


def test_manifest_counts_what_is_there(tmp_path, tokenizer):
    shards = open_shards(write(tmp_path, tokenizer))
    train = shards.manifest["splits"]["train"]
    assert train["tokens"] == len(shards.train)
    assert train["documents"] == 3
    assert train["bytes"] == len("".join(TRAIN).encode())
    assert shards.bytes_per_token("train") == train["bytes"] / train["tokens"]
    assert shards.manifest["splits"]["validation"]["bytes"] == len("".join(VALIDATION).encode())
    assert shards.manifest["vocab_size"] == tokenizer.vocab_size
    assert shards.manifest["tokenizer_fingerprint"] == shards.tokenizer.fingerprint
    assert not list(tmp_path.glob("*.part"))


def test_tokens_are_read_only(tmp_path, tokenizer):
    shards = open_shards(write(tmp_path, tokenizer))
    with pytest.raises((TypeError, ValueError)):
        shards.train[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        shards.train[:5][0] = 1


def test_type_holds_every_token():
    assert token_dtype(65536) == np.dtype("<u2")
    assert token_dtype(65537) == np.dtype("<u4")


def test_a_token_too_large_for_the_files_is_refused_and_not_cut(tmp_path, tokenizer):
    with writer_of(tmp_path, "train", tokenizer, 30) as writer:
        writer.append(np.array([0, 65_535], dtype=np.uint32), 2)
        with pytest.raises(ValueError, match="token 65536 does not fit into the uint16"):
            writer.append(np.array([0, 65_536], dtype=np.uint32), 2)


def test_fingerprint_identifies_tokens(tmp_path, tokenizer):
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    first = open_shards(write(folders[0], tokenizer))
    same = open_shards(write(folders[1], tokenizer))
    other = open_shards(write(folders[2], tokenizer, train=TRAIN[::-1]))
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_fingerprint_of_splits_in_one_file_is_that_of_format_one(tmp_path, tokenizer):
    """Runs are known by it: how tokens are cut into files must not change whose they are."""
    shards = open_shards(write(tmp_path, tokenizer, per_file=1000))
    names = {
        "train.bin": "train-00000.bin",
        "validation.bin": "validation-00000.bin",
        "tokenizer.json": "tokenizer.json",
    }
    sums = {
        old: hashlib.sha256((tmp_path / new).read_bytes()).hexdigest() for old, new in names.items()
    }
    text = json.dumps(sums, sort_keys=True)
    assert shards.fingerprint == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", FILES)
def test_flipped_byte_is_found_and_the_file_named(tmp_path, tokenizer, name):
    path = write(tmp_path, tokenizer) / name
    for position in range(0, path.stat().st_size, max(1, path.stat().st_size // 20)):
        data = bytearray(path.read_bytes())
        data[position] ^= 1
        if name == "manifest.json" and same_json(path.read_bytes(), data):
            continue
        path.write_bytes(data)
        with pytest.raises(ShardError, match=f"{name} cannot be used.*Delete the folder"):
            open_shards(tmp_path)
        data[position] ^= 1
        path.write_bytes(data)
    open_shards(tmp_path)


def same_json(first, second):
    try:
        return json.loads(first) == json.loads(bytes(second))
    except ValueError:
        return False


@pytest.mark.parametrize("name", FILES)
def test_truncated_or_missing_file_is_named(tmp_path, tokenizer, name):
    path = write(tmp_path, tokenizer) / name
    os.truncate(path, path.stat().st_size - 2)
    with pytest.raises(ShardError, match=name):
        open_shards(tmp_path)
    path.unlink()
    with pytest.raises(ShardError, match=name):
        open_shards(tmp_path)


def test_manifest_of_another_format_is_refused(tmp_path, tokenizer):
    path = write(tmp_path, tokenizer) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(ShardError, match="format 99, this adana reads 2"):
        open_shards(tmp_path)
    path.write_text("[]")
    with pytest.raises(ShardError, match="not a JSON object"):
        open_shards(tmp_path)


def test_half_written_file_has_no_final_name(tmp_path, tokenizer):
    with writer_of(tmp_path, "train", tokenizer, 1000) as writer:
        for ids in tokenizer.encode_documents(TRAIN):
            writer.append(ids, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000.bin.part"]
    with pytest.raises(ShardError, match="never completed"):
        open_shards(tmp_path)


def settle(folder):
    """Make the files look old enough for their stamps to be trusted."""
    for path in folder.iterdir():
        os.utime(path, ns=(10**18, 10**18))


def test_files_found_right_are_not_read_again_until_they_change(tmp_path, tokenizer):
    settle(write(tmp_path, tokenizer))
    open_shards(tmp_path)
    path = tmp_path / FILES[0]
    flip(path)
    os.utime(path, ns=(10**18, 10**18))  # a change that hides its time
    open_shards(tmp_path)
    with pytest.raises(ShardError, match=FILES[0]):
        open_shards(tmp_path, verify=True)
    os.utime(path, ns=(10**18, 10**18 + 1))
    with pytest.raises(ShardError, match=FILES[0]):
        open_shards(tmp_path)


def flip(path):
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    with open(path, "r+b") as file:
        file.write(data)


def test_files_changed_a_moment_ago_get_no_stamp(tmp_path, tokenizer):
    open_shards(write(tmp_path, tokenizer))
    assert not (tmp_path / VERIFIED).exists()


def test_damaged_or_unwritable_stamps_only_cost_time(tmp_path, tokenizer, monkeypatch):
    settle(write(tmp_path, tokenizer))
    (tmp_path / VERIFIED).write_text("[not json")
    open_shards(tmp_path)
    assert json.loads((tmp_path / VERIFIED).read_text()).keys() == set(FILES[:-1])
    (tmp_path / VERIFIED).unlink()
    replace = os.replace

    def read_only(source, target):
        if str(target).endswith(VERIFIED):
            raise PermissionError(30, "Read-only file system")
        replace(source, target)

    monkeypatch.setattr(os, "replace", read_only)
    open_shards(tmp_path)
    assert not (tmp_path / VERIFIED).exists()


def test_checking_reports_how_far_it_is(tmp_path, tokenizer):
    told = []
    open_shards(write(tmp_path, tokenizer), on_progress=lambda stage, done: told.append(done))
    assert told == sorted(told)
    assert len(told) == len(FILES) - 1
    assert told[-1] == 1.0


def test_the_cut_into_files_changes_no_token(tmp_path, tokenizer):
    for name in "abc":
        (tmp_path / name).mkdir()
    one, seven = (
        open_shards(write(tmp_path / name, tokenizer, per_file=n))
        for name, n in (("a", 999), ("b", 7))
    )
    assert len(list((tmp_path / "b").glob("train-*.bin"))) > 3
    np.testing.assert_array_equal(np.asarray(one.train), np.asarray(seven.train))
    exact = open_shards(write(tmp_path / "c", tokenizer, per_file=len(one.train)))
    assert len(list((tmp_path / "c").glob("train-*"))) == 1
    np.testing.assert_array_equal(np.asarray(one.train), np.asarray(exact.train))
