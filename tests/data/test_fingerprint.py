"""Tokens that are known by their fingerprint, as those of a run are: they outlive their text."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from adana.data import CorpusError, DataConfig, entries, key_of_tokens, prepare

CONFIG = DataConfig("texts", vocab_size=280, validation_fraction=0.2)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "texts").mkdir()
    for number in range(120):
        text = f"{number} some words to count and {number}\n" * 9
        (tmp_path / "texts" / f"{number}.txt").write_text(text)
    return tmp_path / "cache"


def change():
    Path("texts/0.txt").write_text("another text")


def told_by(config):
    told = []
    return prepare(config, on_progress=lambda stage, _: told.append(stage)), "\n".join(told)


def test_the_fingerprint_says_nothing_about_which_tokens_are_made():
    known = dataclasses.replace(CONFIG, fingerprint="abc")
    assert known.settings() == CONFIG.settings()
    assert "fingerprint" not in DataConfig().settings()


def test_complete_tokens_are_found_by_their_fingerprint_the_newest_of_them(cache):
    made = prepare(CONFIG)
    assert key_of_tokens(made.fingerprint) == made.folder.name
    assert key_of_tokens(made.fingerprint, cache / "nowhere") is None
    assert key_of_tokens("another") is None
    twin = shutil.copytree(made.folder, cache / "0123456789abcdef")
    os.utime(twin / "manifest.json", (1, 1))
    assert key_of_tokens(made.fingerprint) == made.folder.name
    (made.folder / "train-00000.bin").write_bytes(b"short")
    assert key_of_tokens(made.fingerprint) == twin.name
    (twin / "tokenizer.json").unlink()
    assert key_of_tokens(made.fingerprint) is None


@pytest.mark.parametrize(
    ("meanwhile", "says"),
    [
        (lambda: shutil.rmtree("texts"), "the text of 'texts' does not exist any more"),
        (change, "the text of 'texts' has changed since"),
        (lambda: Path("texts/bad.txt").write_bytes(b"\xe9"), "bad.txt is not valid UTF-8"),
    ],
)
def test_tokens_of_a_known_fingerprint_are_used_where_the_text_cannot_give_them(
    cache, meanwhile, says
):
    made = prepare(CONFIG)
    meanwhile()
    shards, told = told_by(dataclasses.replace(CONFIG, fingerprint=made.fingerprint))
    assert (shards.folder, shards.fingerprint) == (made.folder, made.fingerprint)
    assert f"(as --data {made.folder.name} does)" in told
    assert says in told
    assert len(entries(cache)) == 1, "nothing is made from the text as it is now"


def test_a_text_that_still_gives_them_is_read_as_ever(cache):
    made = prepare(CONFIG)
    twin = shutil.copytree(made.folder, cache / "0123456789abcdef")
    os.utime(twin / "manifest.json")
    shards, told = told_by(dataclasses.replace(CONFIG, fingerprint=made.fingerprint))
    assert shards.folder == made.folder
    assert "--data" not in told
    assert told.startswith("reading the corpus")


def test_without_tokens_of_the_fingerprint_nothing_changes(cache):
    known = dataclasses.replace(CONFIG, fingerprint="f" * 64)
    assert prepare(known).fingerprint == prepare(CONFIG).fingerprint
    shutil.rmtree("texts")
    says = r"'texts' does not exist any more.*\(fingerprint ffffffffffffffff\) are not in the cache"
    with pytest.raises(CorpusError, match=says) as caught:
        prepare(known)
    assert "--data" not in str(caught.value), "other tokens are of no use to whoever asks for these"


def test_damaged_tokens_of_the_fingerprint_are_not_used(cache):
    made = prepare(CONFIG)
    path = made.folder / "train-00000.bin"
    path.write_bytes(bytes(path.stat().st_size))
    shutil.rmtree("texts")
    with pytest.raises(CorpusError, match="not in the cache, or not whole"):
        prepare(dataclasses.replace(CONFIG, fingerprint=made.fingerprint))


def test_tokens_of_a_key_that_is_gone_are_found_under_another(cache):
    made = prepare(CONFIG)
    os.rename(made.folder, cache / "0123456789abcdef")
    change()
    known = dataclasses.replace(CONFIG, fingerprint=made.fingerprint, prepared=made.folder.name)
    assert prepare(known).folder.name == "0123456789abcdef"
