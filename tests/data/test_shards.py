import json
import os

import numpy as np
import pytest

from adana.data.errors import ShardError
from adana.data.shards import (
    open_shards,
    token_dtype,
    write_manifest,
    write_split,
    write_tokenizer,
)
from adana.data.tokenizer import train_tokenizer

TRAIN = ["one two three\n", "four five six\n", "seven"]
VALIDATION = ["eight nine\r\n", "zwölf"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TRAIN, 260)


def write(folder, tokenizer, train=TRAIN):
    splits = {
        name: write_split(folder, name, tokenizer.encode_documents(texts), tokenizer)
        for name, texts in {"train": train, "validation": VALIDATION}.items()
    }
    write_tokenizer(folder, tokenizer)
    write_manifest(
        folder,
        tokenizer=tokenizer,
        splits=splits,
        corpus={"source": "test", "notes": []},
        split_rule={"rule": "by hand"},
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
    with pytest.raises(ValueError, match="read-only"):
        shards.train[0] = 1


def test_type_holds_every_token():
    assert token_dtype(65536) == np.dtype("<u2")
    assert token_dtype(65537) == np.dtype("<u4")


def test_fingerprint_identifies_tokens(tmp_path, tokenizer):
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    first = open_shards(write(folders[0], tokenizer))
    same = open_shards(write(folders[1], tokenizer))
    other = open_shards(write(folders[2], tokenizer, train=TRAIN[::-1]))
    assert first.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", ["train.bin", "validation.bin", "tokenizer.json", "manifest.json"])
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


@pytest.mark.parametrize("name", ["train.bin", "validation.bin", "tokenizer.json", "manifest.json"])
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
    with pytest.raises(ShardError, match="format 99, this adana reads 1"):
        open_shards(tmp_path)
    path.write_text("[]")
    with pytest.raises(ShardError, match="not a JSON object"):
        open_shards(tmp_path)


def test_interrupted_write_leaves_nothing_under_the_final_name(tmp_path, tokenizer):
    def documents():
        yield from tokenizer.encode_documents(TRAIN)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_split(tmp_path, "train", documents(), tokenizer)
    assert not (tmp_path / "train.bin").exists()
    with pytest.raises(ShardError, match="never completed"):
        open_shards(tmp_path)
