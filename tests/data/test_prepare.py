import errno
import importlib
import os
import random
from pathlib import Path

import numpy as np
import pytest

from adana.data import CorpusError, DataConfig, ShardError, cache_folder, open_shards, prepare

prepare_module = importlib.import_module("adana.data.prepare")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    choose = random.Random(0)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "kappa", "omega", "tau", "eta"]
    for number in range(120):
        text = " ".join(choose.choice(words) for _ in range(choose.randint(40, 80)))
        (folder / f"{number}.txt").write_text(f"{number}\n{text}\n")
    return DataConfig(corpus=str(folder), vocab_size=280, validation_fraction=0.2)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def documents(tokens, end):
    return {tuple(part[:-1]) for part in np.split(tokens, np.flatnonzero(tokens == end) + 1)[:-1]}


def test_no_validation_document_is_in_training(config, cache):
    shards = prepare(config, cache)
    end = shards.tokenizer.end_of_text
    train, validation = documents(shards.train, end), documents(shards.validation, end)
    assert len(train) + len(validation) == 120
    assert not train & validation
    texts = {path.read_text() for path in Path(config.corpus).iterdir()}
    assert {shards.tokenizer.decode(ids) for ids in train | validation} == texts


def test_manifest_says_where_the_tokens_come_from(config, cache):
    shards = prepare(config, cache)
    assert shards.manifest["corpus"]["source"] == config.corpus
    assert shards.manifest["corpus"]["documents"] == 120
    splits = shards.manifest["splits"]
    assert (
        splits["train"]["bytes"] + splits["validation"]["bytes"]
        == (shards.manifest["corpus"]["bytes"])
    )
    assert shards.manifest["split"]["validation_fraction"] == 0.2
    assert "sha256" in shards.manifest["split"]["rule"]


def test_second_preparation_uses_the_files_of_the_first(config, cache):
    first = prepare(config, cache)
    before = times(first.folder)
    second = prepare(config, cache)
    assert second.folder == first.folder
    assert times(first.folder) == before
    assert second.fingerprint == first.fingerprint
    assert os.listdir(cache) == [first.folder.name]


def test_same_content_elsewhere_gives_the_same_tokens(config, cache, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in Path(config.corpus).iterdir():
        (moved / f"renamed {path.name}").write_bytes(path.read_bytes())
    again = DataConfig(str(moved), config.vocab_size, config.validation_fraction)
    other_cache = tmp_path / "other"
    assert prepare(again, other_cache).fingerprint == prepare(config, cache).fingerprint


@pytest.mark.parametrize(
    "change", [{"vocab_size": 281}, {"validation_fraction": 0.21}, {"corpus": "other"}]
)
def test_other_settings_or_text_have_their_own_folder(config, cache, tmp_path, change):
    if "corpus" in change:
        other = tmp_path / "x.txt"
        other.write_text("".join(path.read_text() for path in Path(config.corpus).iterdir()))
        change = {"corpus": str(other)}
    changed = DataConfig(**{**vars(config), **change})
    assert prepare(changed, cache).folder != prepare(config, cache).folder


def flip(folder):
    data = bytearray((folder / "train.bin").read_bytes())
    data[100] ^= 1
    (folder / "train.bin").write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda folder: os.truncate(folder / "validation.bin", 10),
        lambda folder: os.truncate(folder / "manifest.json", 50),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "tokenizer.json").unlink(),
    ],
    ids=["flipped byte", "cut tokens", "cut manifest", "no manifest", "no tokenizer"],
)
def test_damaged_cache_is_built_again_and_said_so(config, cache, damage):
    first = prepare(config, cache)
    damage(first.folder)
    told = []
    second = prepare(config, cache, lambda stage, fraction: told.append(stage))
    assert second.fingerprint == first.fingerprint
    assert any("building the tokens again" in stage for stage in told)
    assert open_shards(first.folder).fingerprint == first.fingerprint
    assert os.listdir(cache) == [first.folder.name]


def test_half_written_folder_of_a_killed_process_is_ignored_and_later_removed(config, cache):
    recent, old = cache / ".building-dead-1", cache / ".building-dead-2"
    for folder in (recent, old):
        folder.mkdir(parents=True)
        (folder / "train.bin.part").write_bytes(b"half")
    os.utime(old, (0, 0))
    shards = prepare(config, cache)
    assert sorted(os.listdir(cache)) == sorted([recent.name, shards.folder.name])


def test_faster_process_wins_and_its_files_are_used(config, cache, monkeypatch):
    write, theirs = prepare_module._write, []

    def overtaken(folder, **arguments):
        write(folder, **arguments)
        monkeypatch.setattr(prepare_module, "_write", write)
        theirs.append(prepare(config, cache))
        theirs.append(times(theirs[0].folder))

    monkeypatch.setattr(prepare_module, "_write", overtaken)
    ours = prepare(config, cache)
    assert ours.folder == theirs[0].folder
    assert times(ours.folder) == theirs[1]
    assert os.listdir(cache) == [ours.folder.name]


def test_opened_tokens_stay_valid_when_the_cache_is_built_again(config, cache):
    first = prepare(config, cache)
    tokens = np.array(first.train)
    (first.folder / "manifest.json").unlink()
    prepare(config, cache)
    np.testing.assert_array_equal(first.train, tokens)


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_full_disk_is_explained_and_nothing_is_left(config, cache, monkeypatch, call):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(ShardError, match=r"cannot be written.*No space left.*ADANA_CACHE"):
        prepare(config, cache)
    assert os.listdir(cache) == []


def test_disk_full_at_the_manifest_is_explained_too(config, cache, monkeypatch):
    fsync, calls = os.fsync, []

    def full_at_last(descriptor):
        calls.append(descriptor)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_last)
    with pytest.raises(ShardError, match="No space left"):
        prepare(config, cache)
    assert os.listdir(cache) == []


def test_cache_that_cannot_be_a_folder_is_explained(config, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ShardError, match="Not a directory"):
        prepare(config, tmp_path / "file")


def test_interruption_leaves_nothing(config, cache):
    def interrupt(stage, fraction):
        if fraction > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config, cache, interrupt)
    assert os.listdir(cache) == []


def test_progress_rises_to_one(config, cache, monkeypatch):
    monkeypatch.setattr(prepare_module, "_CHUNK_BYTES", 1000)
    fractions = []
    prepare(config, cache, lambda stage, fraction: fractions.append(fraction))
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert len(fractions) > 20


def test_unusable_settings_are_refused_before_anything_is_written(config, cache):
    with pytest.raises(ValueError, match="256 bytes"):
        prepare(DataConfig(config.corpus, vocab_size=100), cache)
    with pytest.raises(ValueError, match="validation_fraction"):
        prepare(DataConfig(config.corpus, validation_fraction=2.0), cache)
    with pytest.raises(CorpusError, match="--vocab-size"):
        prepare(DataConfig(config.corpus, vocab_size=50_000), cache)
    assert not cache.exists()


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    for name in ("ADANA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path.home() / ".cache" / "adana"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "adana"
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_default_cache_is_used(config, monkeypatch, tmp_path):
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "own"))
    assert prepare(config).folder.parent == tmp_path / "own"
