"""Tokens as a corpus of their own: named by their key, used without their text."""

import dataclasses
import json
import os
import shutil
import time

import pytest

from adana.data import (
    CorpusError,
    DataConfig,
    check_vocabulary_holds,
    entries,
    model_vocab_size,
    prepare,
    prepared_config,
    sources,
)
from adana.data.tokenizer import train_tokenizer


def fill(folder, count=120):
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_text(f"{number} some words to count and {number}\n" * 9)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    fill(tmp_path / "texts")
    return tmp_path / "cache"


CONFIG = DataConfig("texts", vocab_size=280, validation_fraction=0.2)


@pytest.mark.parametrize("digits", [8, 11, 16])
def test_a_key_names_tokens_that_are_used_without_their_text(cache, digits):
    made = prepare(CONFIG)
    shutil.rmtree("texts")
    config = prepared_config(made.folder.name[:digits])
    assert config == dataclasses.replace(CONFIG, prepared=made.folder.name)
    told = []
    shards = prepare(config, on_progress=lambda stage, _: told.append(stage))
    assert shards.folder == made.folder
    assert shards.manifest == made.manifest
    assert "reading the corpus" not in told


def test_what_might_be_a_key_but_is_none_says_what_is_there(cache):
    key = prepare(CONFIG).folder.name
    assert prepared_config(key[:7]) is None, "too short: it may be another name"
    assert prepared_config("python") is None
    other = "0" * 8 if key[0] != "0" else "1" * 8
    with pytest.raises(CorpusError, match=rf"'{other}' is no file.*there is none.*data list"):
        prepared_config(other)
    twin = cache / f"{key[:15]}{'0' if key[15] != '0' else '1'}"
    shutil.copytree(cache / key, twin)
    with pytest.raises(CorpusError, match=f"{key}: complete; {twin.name}: complete|{twin.name}"):
        prepared_config(key[:8])
    shutil.rmtree(twin)
    os.rename(cache / key, cache / f".building-{key}")
    with pytest.raises(CorpusError, match=f"{key}: unfinished"):
        prepared_config(key)


def test_a_file_of_that_name_goes_before_a_key(cache):
    key = prepare(CONFIG).folder.name
    fill(cache.parent / key[:8])
    assert prepared_config(key[:8]) is None
    assert prepare(DataConfig(key[:8], 280, 0.2)).folder.name == key


def test_settings_other_than_those_of_the_tokens_are_refused(cache):
    config = prepared_config(prepare(CONFIG).folder.name)
    with pytest.raises(ValueError, match=r"were made with vocab_size 280, not 300.*'texts'"):
        prepare(dataclasses.replace(config, vocab_size=300))
    with pytest.raises(ValueError, match="bad_rows None, not skip"):
        prepare(dataclasses.replace(config, bad_rows="skip"))


def test_tokens_that_are_gone_are_made_again_from_the_same_text_only(cache):
    made = prepare(CONFIG)
    config = prepared_config(made.folder.name)
    shutil.rmtree(made.folder)
    assert prepare(config).fingerprint == made.fingerprint
    (made.folder / "train-00000.bin").write_bytes(b"damaged")
    assert prepare(config).fingerprint == made.fingerprint
    shutil.rmtree(made.folder)
    (cache.parent / "texts" / "0.txt").write_text("another text")
    with pytest.raises(CorpusError, match=rf"the text of 'texts' has changed.*{made.folder.name}"):
        prepare(config)
    assert not entries(cache)


def date_of(key, cache, minutes):
    """Let tokens be made so many minutes after noon of 5 July 2026."""
    when = time.mktime((2026, 7, 5, 12, minutes, 0, 0, 0, -1))
    os.utime(cache / key / "manifest.json", (when, when))


def test_a_corpus_that_is_gone_names_its_tokens_the_newest_first_and_takes_those_as_asked(cache):
    made = [prepare(dataclasses.replace(CONFIG, vocab_size=v)) for v in (270, 280, 290, 300)]
    for minutes, shards in enumerate(made):
        date_of(shards.folder.name, cache, minutes)
    shutil.rmtree("texts")
    keys = [shards.folder.name for shards in made]
    words = [
        f"{keys[i]} of 2026-07-05 12:0{i}, {len(made[i].train):,} training tokens"
        for i in (3, 2, 1)
    ]
    says = rf"'texts/' does not exist any more.*the cache: {'; '.join(words)}; and 1 more .*"
    with pytest.raises(CorpusError, match=rf"{says}To use them as they are: --data {keys[0]}$"):
        prepare(dataclasses.replace(CONFIG, corpus="texts/", vocab_size=270))
    with pytest.raises(CorpusError, match=rf"{says}several settings.*choose one with --data KEY$"):
        prepare(dataclasses.replace(CONFIG, corpus="texts/", vocab_size=310))


def test_of_several_texts_of_a_name_that_is_gone_none_is_advised(cache):
    older = prepare(CONFIG).folder.name
    (cache.parent / "texts" / "0.txt").write_text("another text")
    newer = prepare(dataclasses.replace(CONFIG, vocab_size=270)).folder.name
    date_of(older, cache, 1)
    date_of(newer, cache, 2)
    shutil.rmtree("texts")
    for config in (CONFIG, dataclasses.replace(CONFIG, vocab_size=270)):
        says = rf"{newer} of .*; {older} of .*several texts.*choose one with --data KEY$"
        with pytest.raises(CorpusError, match=says):
            prepare(config)


def test_a_corpus_that_was_never_there_has_no_tokens(cache):
    prepare(CONFIG)
    with pytest.raises(CorpusError, match=r"'nowhere' does not exist\. Give"):
        prepare(DataConfig("nowhere"))


def test_the_vocabulary_of_prepared_tokens_needs_no_tokenizer_file(cache):
    tokenizer = train_tokenizer(["some words " * 50, "and others, too " * 50], 265)
    (cache.parent / "tok.json").write_text(tokenizer.to_json())
    config = dataclasses.replace(CONFIG, tokenizer="tok.json")
    key = prepare(config).folder.name
    os.unlink("tok.json")
    prepared = prepared_config(key)
    assert model_vocab_size(prepared) == 320
    check_vocabulary_holds(265, prepared)
    with pytest.raises(ValueError, match=r"--vocab-size 264 is less than the 265 tokens.*320"):
        check_vocabulary_holds(264, prepared)
    with pytest.raises(CorpusError, match=r"tok\.json.* cannot be read"):
        model_vocab_size(config)


def test_settings_that_came_later_are_in_no_manifest_that_does_not_need_them(cache):
    """So that an older manifest is not of other settings."""
    made = prepare(CONFIG)
    assert set(made.manifest["settings"]) == {
        *("corpus", "vocab_size", "validation_fraction", "validation_tokens", "tokenizer"),
        *("text_field", "hub_split", "limit_documents", "limit_tokens"),
    }


@pytest.mark.parametrize(
    ("listed", "changes", "key"),
    [
        (1 << 30, {}, "bd0007114a921ea1"),
        (1 << 30, {"limit_tokens": 5000}, "65bca75d5d57af97"),
        (0, {}, "59fa21c7771cabc9"),
        (0, {"limit_tokens": 5000}, "5697ffd1539e3d1c"),
    ],
)
def test_keys_stay_what_they_were(tmp_path, monkeypatch, listed, changes, key):
    """As version 0.1 had them (commit aa431d4): whoever changes one has all caches built again."""
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", listed)
    corpus, cache = tmp_path / "corpus", tmp_path / "cache"
    corpus.mkdir()
    rows = [f"{i} " + "some words to count " * 20 for i in range(100)]
    (corpus / "x.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    (corpus / "notes.txt").write_text("a text beside them\n" * 30)
    config = DataConfig(str(corpus), 280, 0.2, **changes)
    assert prepare(config, cache).folder.name == key
    skipping = dataclasses.replace(config, bad_rows="skip")
    assert prepare(skipping, cache).folder.name != key


# --- the same tokens, read as another corpus ------------------------------------------------------


def test_source_and_notes_are_those_of_this_reading(cache):
    folder = cache.parent / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("".join(f"line {i} of a book\n" for i in range(9000)))
    (folder / "huge.jsonl.gz").write_text("x")
    alone = prepare(DataConfig("folder/a.txt", 280))
    assert alone.manifest["corpus"]["notes"] == []
    beside = prepare(DataConfig("folder", 280))
    assert beside.folder == alone.folder
    assert beside.manifest["corpus"]["source"] == "folder"
    assert beside.manifest["corpus"]["notes"] == ["1 file of another kind left out (.gz)"]
    assert beside.manifest["split"] == alone.manifest["split"]
    assert beside.fingerprint == alone.fingerprint
    (entry,) = entries(cache)
    assert entry.manifest == alone.manifest, "the file says what the tokens were built from"


def test_of_a_streamed_corpus_the_counts_of_its_build_stay(cache, monkeypatch):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", 0)
    folder = cache.parent / "folder"
    folder.mkdir()
    rows = [f"{i} " + "some words to count " * 20 for i in range(100)]
    lines = [json.dumps({"text": row}) for row in (*rows, rows[0])]
    (folder / "x.jsonl").write_text("\n".join([*lines[:50], "", *lines[50:]]))
    counted = ["1 empty document left out", "1 exact duplicate left out"]
    alone = prepare(DataConfig("folder/x.jsonl", 280, 0.2))
    assert alone.manifest["corpus"]["notes"] == counted
    (folder / "x.rst").write_text("of another kind")
    beside = prepare(DataConfig("folder", 280, 0.2))
    assert beside.folder == alone.folder
    assert beside.manifest["corpus"]["notes"] == [
        "1 file of another kind left out (.rst)",
        *counted,
    ]
    again = prepare(DataConfig("folder/x.jsonl", 280, 0.2))
    assert again.manifest["corpus"] == alone.manifest["corpus"]


def test_a_byte_order_mark_makes_another_streamed_corpus(cache, monkeypatch):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", 0)
    folder = cache.parent / "folder"
    folder.mkdir()
    rows = [f"{i} " + "some words to count " * 20 for i in range(100)]
    (folder / "x.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows))
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbfa text beside them")
    text = sources.open_text(DataConfig("folder"))
    assert next(iter(text.read(None))).text == "a text beside them"
    digests = [sources.FileDigests().of(folder / name) for name in ("a.txt", "x.jsonl")]
    as_before = sources.hashlib.sha256("\n".join(["rows of text", *digests]).encode())
    assert text.fingerprint != as_before.hexdigest(), "tokens that have the mark in them"
