import dataclasses
import errno
import importlib
import os
import random
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from adana.data import (
    CorpusError,
    DataConfig,
    ShardError,
    Unreachable,
    cache_folder,
    entries,
    open_shards,
    prepare,
)

build_module = importlib.import_module("adana.data.build")


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
    tokens = np.asarray(tokens)
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


def flip(folder, name="train-00000.bin"):
    data = bytearray((folder / name).read_bytes())
    data[100] ^= 1
    (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda folder: os.truncate(folder / "validation-00000.bin", 10),
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
        (folder / "train-00000.bin.part").write_bytes(b"half")
    os.utime(old, (0, 0))
    shards = prepare(config, cache)
    assert sorted(os.listdir(cache)) == sorted([recent.name, shards.folder.name])


def test_a_second_process_waits_for_the_first_and_uses_its_files(config, cache):
    told, results = [], []
    begun, go_on = threading.Event(), threading.Event()

    def slow(stage, fraction):
        if fraction > 0.3:
            begun.set()
            assert go_on.wait(60)

    def report(stage, fraction):
        told.append(stage)
        if "waiting for another process" in stage:
            go_on.set()

    first = threading.Thread(target=lambda: results.append(prepare(config, cache, slow)))
    first.start()
    assert begun.wait(60)
    second = prepare(config, cache, report)
    first.join()
    assert results[0].folder == second.folder
    assert any("waiting for another process" in stage for stage in told)
    assert not any("tokenizer" in stage for stage in told)
    assert os.listdir(cache) == [second.folder.name]
    assert "lock" not in os.listdir(second.folder)


def test_opened_tokens_stay_valid_when_the_cache_is_built_again(config, cache):
    first = prepare(config, cache)
    tokens = np.array(first.train)
    (first.folder / "manifest.json").unlink()
    prepare(config, cache)
    np.testing.assert_array_equal(first.train, tokens)


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("call", "left"), [("fsync", 0), ("rename", 1)])
def test_full_disk_is_explained_and_what_is_done_is_kept(config, cache, monkeypatch, call, left):
    monkeypatch.setattr(os, call, full)
    with pytest.raises(ShardError, match=r"cannot be written.*No space left.*ADANA_CACHE"):
        prepare(config, cache)
    monkeypatch.undo()
    assert len(os.listdir(cache)) == left
    told = []
    shards = prepare(config, cache, lambda stage, fraction: told.append(stage))
    assert any("training a tokenizer" in stage for stage in told) == (not left)
    assert os.listdir(cache) == [shards.folder.name]


@pytest.mark.parametrize("last", range(1, 9))
def test_disk_full_at_any_moment_is_explained_and_recovered_from(
    config, cache, tmp_path, monkeypatch, last
):
    fsync, calls = os.fsync, []

    def full_from(descriptor):
        calls.append(descriptor)
        if len(calls) >= last:
            full()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_from)
    with pytest.raises(ShardError, match="No space left"):
        prepare(config, cache, shard_tokens=2000)
    monkeypatch.undo()
    again = prepare(config, cache, shard_tokens=2000)
    assert again.fingerprint == prepare(config, tmp_path / "other", shard_tokens=2000).fingerprint
    assert os.listdir(cache) == [again.folder.name]


def test_an_error_of_reading_is_not_called_one_of_writing(config, cache, monkeypatch):
    def broken(document):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    prepare(config, cache)
    monkeypatch.setattr("adana.data.documents.FileDocument.text", property(broken))
    with pytest.raises(CorpusError, match=r"corpus '.*' cannot be read: Input/output error"):
        prepare(dataclasses.replace(config, vocab_size=290), cache)


def test_without_its_tokenizer_only_the_very_same_text_is_taken_from_the_cache(
    config, cache, tmp_path, monkeypatch
):
    prepare_module = importlib.import_module("adana.data.prepare")
    tokenizer = prepare(config, cache).tokenizer
    with_gpt2 = dataclasses.replace(config, corpus="texts", tokenizer="gpt2")
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        shutil.copytree(config.corpus, tmp_path / place / "texts")
    (tmp_path / "b" / "texts" / "0.txt").write_text("edited")
    monkeypatch.chdir(tmp_path / "a")
    monkeypatch.setattr(prepare_module, "ready_made", lambda name: tokenizer)
    first = prepare(with_gpt2, cache)

    def nobody(name):
        raise Unreachable("GPT-2's tokenizer cannot be fetched")

    monkeypatch.setattr(prepare_module, "ready_made", nobody)
    assert prepare(with_gpt2, cache).folder == first.folder
    moved = dataclasses.replace(with_gpt2, corpus=str(tmp_path / "a" / "texts"))
    assert prepare(moved, cache).folder == first.folder
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(Unreachable, match="cannot be fetched"):
        prepare(with_gpt2, cache)


def test_cache_that_cannot_be_a_folder_is_explained(config, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ShardError, match="Not a directory"):
        prepare(config, tmp_path / "file")


def interrupt_after(batches):
    count = 0

    def tell(stage, fraction):
        nonlocal count
        count += "turning text" in stage
        if count > batches:
            raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize("batches", [0, 1, 7, 20])
def test_interruption_keeps_what_is_done(config, cache, tmp_path, monkeypatch, batches):
    monkeypatch.setattr(build_module, "BATCH_BYTES", 1000)
    with pytest.raises(KeyboardInterrupt):
        prepare(config, cache, interrupt_after(batches), shard_tokens=700)
    (left,) = entries(cache)
    assert "unfinished" in left.state
    told = []
    shards = prepare(config, cache, lambda stage, _: told.append(stage), shard_tokens=700)
    assert any("going on after" in stage for stage in told)
    assert not any("training a tokenizer" in stage for stage in told)
    whole = prepare(config, tmp_path / "whole", shard_tokens=700)
    assert shards.fingerprint == whole.fingerprint
    assert content(shards) == content(whole)
    assert os.listdir(cache) == [shards.folder.name]


def content(shards):
    return {k: v for k, v in shards.manifest.items() if k not in ("files", "checksum")}


@pytest.mark.parametrize("name", ["train-00000.bin", "part", "journal.json"])
def test_damage_to_what_is_half_done_means_beginning_again(config, cache, monkeypatch, name):
    monkeypatch.setattr(build_module, "BATCH_BYTES", 1000)
    with pytest.raises(KeyboardInterrupt):
        prepare(config, cache, interrupt_after(15), shard_tokens=900)
    (folder,) = cache.iterdir()
    if name == "part":
        name = next(folder.glob("train-*.part")).name
    flip(folder, name)
    told = []
    shards = prepare(config, cache, lambda stage, _: told.append(stage), shard_tokens=900)
    assert any("beginning again" in stage and name in stage for stage in told)
    assert shards.fingerprint == prepare(config, cache / "other", shard_tokens=900).fingerprint


def test_progress_rises_to_one(config, cache, monkeypatch):
    monkeypatch.setattr(build_module, "BATCH_BYTES", 1000)
    fractions = []
    prepare(config, cache, lambda stage, fraction: fractions.append(fraction))
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert len(fractions) > 20


def test_progress_says_tokens_rate_and_time_left(config, cache):
    told = []
    prepare(config, cache, lambda stage, fraction: told.append(stage))
    assert any(
        re.match(r"turning text.*[\d,]+ so far, [\d,]+ a second, about 0 s left", t) for t in told
    )


@pytest.mark.parametrize(
    "error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), FileNotFoundError("gone"), ShardError()]
)
@pytest.mark.parametrize("moment", ["reading the corpus", "training", "turning text", "ready"])
def test_an_error_of_the_callback_comes_through_as_it_is(config, cache, monkeypatch, error, moment):
    def fails(stage, fraction):
        if moment in stage:
            raise error

    with pytest.raises(type(error)) as caught:
        prepare(config, cache, fails)
    assert caught.value is error
    assert error.__cause__ is None
    prepare(config, cache)
    if moment == "ready":
        return
    monkeypatch.setattr(build_module, "BATCH_BYTES", 1000)
    again = DataConfig(config.corpus, 290)
    with pytest.raises(type(error)):
        prepare(again, cache, fails)
    shards = prepare(again, cache)
    assert sorted(entry.state for entry in entries(cache)) == ["complete"] * 2
    assert len(shards.train)


def test_an_error_of_the_callback_while_another_is_waited_for_comes_through(config, cache):
    begun, go_on = threading.Event(), threading.Event()

    def slow(stage, fraction):
        if fraction > 0.3:
            begun.set()
            assert go_on.wait(60)

    def fails(stage, fraction):
        if "waiting for another process" in stage:
            raise FileNotFoundError("the callback's own")

    first = threading.Thread(target=prepare, args=(config, cache, slow))
    first.start()
    assert begun.wait(60)
    with pytest.raises(FileNotFoundError, match="the callback's own"):
        prepare(config, cache, fails)
    go_on.set()
    first.join()


def test_a_cache_that_vanishes_while_it_is_filled_is_explained(config, cache, monkeypatch):
    monkeypatch.setattr(build_module, "BATCH_BYTES", 1000)

    def remove(stage, fraction):
        if "turning text" in stage:
            shutil.rmtree(cache, ignore_errors=True)

    with pytest.raises(ShardError, match=r"cannot be written to .*: No such file or directory"):
        prepare(config, cache, remove)


def test_unusable_settings_leave_nothing(config, cache):
    with pytest.raises(ValueError, match="256 bytes"):
        prepare(DataConfig(config.corpus, vocab_size=100), cache)
    with pytest.raises(ValueError, match="validation_fraction"):
        prepare(DataConfig(config.corpus, validation_fraction=2.0), cache)
    with pytest.raises(ValueError, match="limit_tokens must be at least 1"):
        DataConfig(config.corpus, limit_tokens=0)
    assert not cache.exists()
    with pytest.raises(CorpusError, match="--vocab-size"):
        prepare(DataConfig(config.corpus, vocab_size=50_000), cache)
    assert os.listdir(cache) == []


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
