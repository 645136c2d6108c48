"""Corpora of rows, of the hub and of the interpreter, listed and streamed."""

import dataclasses
import hashlib
import json
import os
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from tests.data.interrupted import prepare_until_interrupted

from adana.data import (
    CorpusError,
    DataConfig,
    Unavailable,
    Unreachable,
    prepare,
    read_corpus,
    sources,
)
from adana.data import build as build_module
from adana.data.documents import Document, ListReader
from adana.data.sources import hub, installed, open_text

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "kappa", "omega", "tau", "eta"]


def texts(count, start=0):
    choose = np.random.default_rng(start)
    return [f"{i} " + " ".join(choose.choice(WORDS, 60)) for i in range(start, start + count)]


def jsonl(path, rows, field="text"):
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in rows))


def parquet(path, rows, field="text", group=50):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install adana[data]")
    from pyarrow import parquet as module  # noqa: PLC0415

    table = pyarrow.table({field: rows, "id": list(range(len(rows)))})
    module.write_table(table, path, row_group_size=group)


WRITERS = [jsonl, pytest.param(parquet, marks=pytest.mark.libraries)]


@pytest.fixture
def streamed(monkeypatch):
    """Take every file of rows for a large one, and small batches for large ones."""
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", 0)
    monkeypatch.setattr(build_module, "BATCH_BYTES", 2000)


def decoded(shards, split):
    tokens = np.asarray(getattr(shards, split))
    ends = np.flatnonzero(tokens == shards.tokenizer.end_of_text)
    return [shards.tokenizer.decode(part[:-1]) for part in np.split(tokens, ends + 1)[:-1]]


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITERS)
def test_rows_are_documents_in_their_own_order_when_streamed(tmp_path, streamed, write):
    path = tmp_path / f"x.{write.__name__}"
    rows = texts(400)
    write(path, [*rows[:200], rows[0], "", *rows[200:], rows[300]])
    shards = prepare(DataConfig(str(path), 280, 0.2), tmp_path / "cache")
    train, validation = decoded(shards, "train"), decoded(shards, "validation")
    held_out = set(validation)
    assert 40 < len(validation) < 130
    assert train == [text for text in rows if text not in held_out]
    assert validation == [text for text in rows if text in held_out]
    assert shards.manifest["corpus"]["notes"] == [
        "1 empty document left out",
        "2 exact duplicates left out",
    ]
    assert shards.manifest["corpus"]["documents"] == 400


def test_a_document_is_on_the_same_side_listed_and_streamed(tmp_path, monkeypatch):
    jsonl(tmp_path / "x.jsonl", texts(400))
    config = DataConfig(str(tmp_path / "x.jsonl"), 280, 0.2)
    listed = prepare(config, tmp_path / "cache")
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", 0)
    shards = prepare(config, tmp_path / "cache")
    assert shards.folder != listed.folder
    assert set(decoded(shards, "validation")) == set(decoded(listed, "validation"))


@pytest.mark.libraries
def test_parquet_and_jsonl_with_the_same_rows_are_the_same_listed_corpus(tmp_path):
    rows = texts(300)
    parquet(tmp_path / "x.parquet", rows)
    jsonl(tmp_path / "x.jsonl", rows)
    first, second = (
        prepare(DataConfig(str(tmp_path / f"x.{kind}"), 280), tmp_path / kind)
        for kind in ("parquet", "jsonl")
    )
    assert first.fingerprint == second.fingerprint
    assert first.folder.name == second.folder.name


@pytest.mark.libraries
def test_folder_may_mix_all_kinds(tmp_path, streamed):
    rows = texts(300)
    parquet(tmp_path / "a.parquet", rows[:100])
    jsonl(tmp_path / "b.jsonl", rows[100:200])
    for number, text in enumerate(rows[200:]):
        (tmp_path / f"c{number:03d}.txt").write_text(text)
    shards = prepare(DataConfig(str(tmp_path), 280), tmp_path / "cache")
    assert sorted(decoded(shards, "train") + decoded(shards, "validation")) == sorted(rows)
    assert len(read_corpus(str(tmp_path)).documents) == 300


@pytest.mark.parametrize("write", WRITERS)
def test_reading_goes_on_from_any_row(tmp_path, streamed, write):
    rows = texts(230)
    write(tmp_path / f"a.{write.__name__}", rows[:170])
    (tmp_path / "b.txt").write_text(rows[170])
    write(tmp_path / f"c.{write.__name__}", rows[171:])
    text = open_text(DataConfig(str(tmp_path)))
    for stop in (0, 1, 49, 50, 51, 169, 170, 171, 172, 229, 230):
        reader = text.read(None)
        each = iter(reader)
        first = [next(each).text for _ in range(stop)]
        cursor = json.loads(json.dumps(reader.cursor()))
        assert first + [document.text for document in text.read(cursor)] == rows


def test_other_content_of_a_streamed_file_is_another_corpus(tmp_path, streamed):
    config = DataConfig(str(tmp_path / "x.jsonl"))
    jsonl(tmp_path / "x.jsonl", texts(10))
    first = open_text(config).fingerprint
    jsonl(tmp_path / "x.jsonl", texts(10))
    assert open_text(config).fingerprint == first
    jsonl(tmp_path / "x.jsonl", texts(10, start=1))
    assert open_text(config).fingerprint != first


def test_large_files_are_not_hashed_again_until_they_change(tmp_path, streamed, monkeypatch):
    monkeypatch.setattr("adana.data.digests.LARGE_BYTES", 0)
    path, cache = tmp_path / "x.jsonl", tmp_path / "cache"
    config, hashed = DataConfig(str(path)), []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: hashed.append(1) or digest(*a))
    jsonl(path, texts(10))
    first = open_text(config, cache).fingerprint
    assert not (cache / "digests.json").exists(), "its time is too recent to be trusted"
    os.utime(path, ns=(10**18, 10**18))
    assert [open_text(config, cache).fingerprint for _ in range(3)] == [first] * 3
    assert len(hashed) == 2
    jsonl(path, texts(11))
    assert open_text(config, cache).fingerprint != first
    (cache / "digests.json").write_text("damaged")
    assert open_text(config, cache).fingerprint != first


@pytest.mark.parametrize("write", WRITERS)
def test_another_text_field_is_read_and_a_missing_one_named(tmp_path, write):
    path = tmp_path / f"x.{write.__name__}"
    write(path, texts(5), field="body")
    assert len(read_corpus(str(path), "body").documents) == 5
    with pytest.raises(CorpusError, match=r'"text".*--text-field'):
        read_corpus(str(path))


@pytest.mark.libraries
def test_damaged_parquet_is_named(tmp_path):
    pytest.importorskip("pyarrow", reason="needs pyarrow: pip install adana[data]")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(CorpusError, match=r"x\.parquet is not a readable parquet file"):
        read_corpus(str(tmp_path))


@pytest.mark.libraries
def test_numbers_are_no_text_column(tmp_path):
    parquet(tmp_path / "x.parquet", texts(5))
    with pytest.raises(
        CorpusError, match=r'no text column "id" among text \(string\), id \(int64\)'
    ):
        read_corpus(str(tmp_path), "id")


@pytest.mark.libraries
@pytest.mark.parametrize("kind", ["dictionary", "string_view", "large_string"])
def test_parquet_texts_of_any_type_are_read(tmp_path, kind):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install adana[data]")
    rows = pyarrow.array(["one", "two", None, "three"])
    rows = rows.dictionary_encode() if kind == "dictionary" else rows.cast(kind)
    parquet(tmp_path / "x.parquet", rows)
    found = read_corpus(str(tmp_path / "x.parquet"))
    assert sorted(document.text for document in found.documents) == ["one", "three", "two"]


@pytest.mark.libraries
def test_invalid_utf8_in_parquet_is_named_with_file_and_row(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install adana[data]")
    rows = pyarrow.array([b"fine", b"caf\xe9", b"fine"], type=pyarrow.binary()).view("string")
    parquet(tmp_path / "x.parquet", rows)
    with pytest.raises(CorpusError, match=r"x\.parquet, row 2: not valid UTF-8 \(byte 0xe9"):
        read_corpus(str(tmp_path))


@pytest.mark.parametrize("write", WRITERS)
def test_a_text_that_is_null_is_an_empty_document(tmp_path, write):
    write(tmp_path / f"x.{write.__name__}", ["one", None, "two"])
    corpus = read_corpus(str(tmp_path))
    assert len(corpus.documents) == 2
    assert corpus.notes == ["1 empty document left out"]


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CorpusError, match=r'pip install "adana\[data\]"'):
        read_corpus(str(tmp_path))


def test_empty_streamed_corpora_say_so(tmp_path, streamed):
    path = tmp_path / "x.jsonl"
    path.write_text("\n\n")
    with pytest.raises(CorpusError, match=r"yields|has no"):
        prepare(DataConfig(str(path), 280), tmp_path / "cache")
    jsonl(path, ["a b " * 300])
    with pytest.raises(CorpusError, match=r"no (train|validation) documents: 1 distinct"):
        prepare(DataConfig(str(path), 257), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


# --- limits and the share held out ----------------------------------------------------------------


@pytest.mark.parametrize("listed", [0, 1 << 30])
def test_limit_documents_keeps_the_first_distinct_ones(tmp_path, monkeypatch, listed):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", listed)
    rows = texts(300)
    jsonl(tmp_path / "x.jsonl", [rows[0], *rows])
    config = DataConfig(str(tmp_path / "x.jsonl"), 270, 0.2, limit_documents=100)
    shards = prepare(config, tmp_path / "cache")
    assert set(decoded(shards, "train") + decoded(shards, "validation")) == set(rows[:100])
    assert shards.manifest["corpus"]["documents"] == 100


@pytest.mark.parametrize("listed", [0, 1 << 30])
def test_limit_tokens_stops_at_the_document_that_reaches_it(tmp_path, monkeypatch, listed):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", listed)
    jsonl(tmp_path / "x.jsonl", texts(300))
    config = DataConfig(str(tmp_path / "x.jsonl"), 270, 0.2, limit_tokens=5000)
    shards = prepare(config, tmp_path / "cache")
    longest = max(len(shards.tokenizer.encode_documents([t])[0]) for t in texts(300)) + 1
    assert 5000 <= len(shards.train) < 5000 + longest
    assert len(shards.validation) > 0


def test_no_more_validation_tokens_than_asked_for(tmp_path, streamed):
    jsonl(tmp_path / "x.jsonl", texts(3000))
    config = DataConfig(str(tmp_path / "x.jsonl"), 400, 0.5, validation_tokens=5000)
    shards = prepare(config, tmp_path / "cache")
    assert 2000 < len(shards.validation) < 12_000
    assert "is below 0.0" in shards.manifest["split"]["rule"]


# --- the interpreter's own ------------------------------------------------------------------------


def test_python_packages_is_the_library_and_the_packages_without_tests(tmp_path, monkeypatch):
    library, packages = tmp_path / "lib", tmp_path / "lib" / "site-packages"
    (packages / "pkg" / "tests").mkdir(parents=True)
    for path, text in {
        library / "json.py": "a",
        packages / "pkg" / "__init__.py": "b",
        packages / "pkg" / "copy.py": "b",
        packages / "pkg" / "tests" / "test_x.py": "c",
    }.items():
        path.write_text(text)
    where = {"stdlib": library, "purelib": packages, "platlib": packages}
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(where[name]))
    monkeypatch.setattr("site.getsitepackages", lambda: [str(packages)])
    corpus = read_corpus("python-packages")
    assert [document.name for document in corpus.documents] == [
        "library/json.py",
        "packages/pkg/__init__.py",
    ]
    assert corpus.notes == ["1 exact duplicate left out"]


def test_listed_files_stay_on_disk_and_are_checked_when_read(tmp_path):
    (tmp_path / "x.txt").write_text("before")
    (document,) = read_corpus(str(tmp_path)).documents
    assert document.text == "before"
    assert "before" not in vars(document).values()
    (tmp_path / "x.txt").write_text("after")
    with pytest.raises(CorpusError, match=r"x\.txt changed while"):
        _ = document.text


def test_built_in_names_are_not_looked_for_on_disk():
    assert set(installed.BUILT_IN) == {"python", "python-packages"}


# --- the hub --------------------------------------------------------------------------------------


def answer(path, full):
    """What the hub says of a data set whose card says nothing."""
    return SimpleNamespace(sha="abc", card_data=None)


def nobody(path, full):
    raise Unreachable("the hub does not answer")


def read_locally(monkeypatch, folder):
    """Let the hub have `owner/name` with the configuration `small`, whose rows lie in `folder`."""
    load = hub._load

    def local(path, subset, revision, config):
        assert (path, subset, revision) == ("owner/name", "small", "abc")
        return load(str(folder), None, None, config)

    monkeypatch.setattr(hub, "_load", local)
    monkeypatch.setattr(hub, "_ask", answer)


@pytest.fixture
def hub_folder(tmp_path):
    """A data set in the hub's layout, and its rows in order."""
    pytest.importorskip("datasets", reason="needs datasets: pip install adana[data]")
    rows = texts(300)
    folder = tmp_path / "dataset"
    (folder / "data").mkdir(parents=True)
    for number in range(3):
        part = rows[100 * number : 100 * number + 100]
        parquet(folder / "data" / f"train-{number:05d}-of-00003.parquet", part, group=30)
    return folder, rows


@pytest.mark.libraries
def test_hub_data_set_is_streamed_in_its_order(hub_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "BATCH_BYTES", 2000)
    folder, rows = hub_folder
    shards = prepare(DataConfig(f"hub:{folder}", 280), tmp_path / "cache")
    train, validation = decoded(shards, "train"), decoded(shards, "validation")
    assert len(validation) > 10
    assert train == [text for text in rows if text not in set(validation)]
    assert sorted(train + validation) == sorted(rows)


@pytest.mark.libraries
def test_reading_a_hub_data_set_goes_on_from_any_row(hub_folder):
    folder, rows = hub_folder
    text = open_text(DataConfig(f"hub:{folder}"))
    for stop in (1, 29, 30, 31, 100, 101, 250, 299, 300):
        reader = text.read(None)
        each = iter(reader)
        first = [next(each).text for _ in range(stop)]
        cursor = json.loads(json.dumps(reader.cursor()))
        rest = list(text.read(cursor))
        assert first + [document.text for document in rest] == rows
        assert not rest or rest[0].name.endswith(f":{stop + 1}")


@pytest.mark.libraries
def test_interrupted_hub_build_ends_with_the_same_tokens(hub_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "BATCH_BYTES", 2000)
    config = DataConfig(f"hub:{hub_folder[0]}", 280)
    prepare_until_interrupted(config, tmp_path / "cache")
    told = []
    again = prepare(config, tmp_path / "cache", lambda s, _: told.append(s), shard_tokens=1000)
    assert any("going on after" in stage for stage in told)
    assert again.fingerprint == prepare(config, tmp_path / "x", shard_tokens=1000).fingerprint


@pytest.mark.libraries
def test_hub_complaints_name_what_is_there(hub_folder, tmp_path):
    folder, _ = hub_folder
    with pytest.raises(CorpusError, match='no column "body" among text, id'):
        prepare(DataConfig(f"hub:{folder}", text_field="body"), tmp_path / "cache")
    with pytest.raises(CorpusError, match=r"--hub-split"):
        prepare(DataConfig(f"hub:{folder}", hub_split="nowhere"), tmp_path / "cache")
    with pytest.raises(CorpusError, match="hub:OWNER/NAME"):
        open_text(DataConfig("hub:nonsense"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_offline_hub_is_an_error_within_seconds_that_says_what_to_do(monkeypatch):
    def nobody(self, path, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", nobody)
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"does not answer for 'hub:HuggingFaceFW/fineweb.*cache"):
        open_text(DataConfig("fineweb-10bt"))
    assert time.monotonic() - begun < 20


def test_without_datasets_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr(hub, "_ask", answer)
    text = open_text(DataConfig("fineweb-10bt"))
    with pytest.raises(CorpusError, match=r'datasets.*pip install "adana\[data\]"'):
        text.read(None)


def test_the_published_corpora_have_short_names(monkeypatch):
    monkeypatch.setattr(hub, "_ask", answer)
    short, long = (
        open_text(DataConfig(name))
        for name in ("fineweb-10bt", "hub:HuggingFaceFW/fineweb/sample-10BT")
    )
    assert short.fingerprint == long.fingerprint
    assert short.notes == ("hub:HuggingFaceFW/fineweb/sample-10BT at revision abc",)
    assert short.rule.endswith("is below 0.001"), "10 million of 10 billion tokens"
    assert open_text(DataConfig("fineweb-100bt")).rule.endswith("is below 0.0001")


@pytest.mark.libraries
def test_offline_a_corpus_prepared_before_is_used(hub_folder, tmp_path, monkeypatch):
    read_locally(monkeypatch, hub_folder[0])
    config = DataConfig("hub:owner/name/small", 280, validation_tokens=10**9)
    online = prepare(config, tmp_path / "cache")
    assert online.manifest["corpus"]["notes"] == ["hub:owner/name/small at revision abc"]

    monkeypatch.setattr(hub, "_ask", nobody)
    told = []
    offline = prepare(config, tmp_path / "cache", lambda stage, _: told.append(stage))
    assert offline.fingerprint == online.fingerprint
    assert any("prepared before" in stage for stage in told)
    with pytest.raises(Unreachable):
        prepare(dataclasses.replace(config, vocab_size=281), tmp_path / "cache")


def test_offline_short_and_long_names_find_each_others_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_ask", answer)
    rows = [Document(str(i), text) for i, text in enumerate(texts(300))]
    monkeypatch.setattr(hub, "_load", lambda *_: None)
    monkeypatch.setattr(hub, "_HubReader", lambda *_: ListReader(rows, None))
    config = DataConfig("fineweb-10bt", 280, limit_tokens=10**5)
    online = prepare(config, tmp_path / "cache")
    monkeypatch.setattr(hub, "_ask", nobody)
    for name in ("hub:HuggingFaceFW/fineweb/sample-10BT", "fineweb-10bt"):
        offline = prepare(dataclasses.replace(config, corpus=name), tmp_path / "cache")
        assert offline.folder == online.folder


def interrupted(config, cache, monkeypatch):
    """Begin to prepare `config`, and stop when some of it is on disk."""
    monkeypatch.setattr(build_module, "BATCH_BYTES", 2000)

    def stop(stage, fraction):
        if "turning text" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config, cache, stop)
    assert list(cache.glob(".building-*/journal.json"))


@pytest.mark.libraries
@pytest.mark.parametrize("failure", ["connection", "http client", "no package"])
def test_what_is_done_stays_when_a_resumed_hub_build_cannot_be_opened(
    hub_folder, tmp_path, monkeypatch, failure
):
    config = DataConfig("hub:owner/name/small", 280, validation_tokens=10**9)
    with monkeypatch.context() as online:
        read_locally(online, hub_folder[0])
        interrupted(config, tmp_path / "cache", monkeypatch)

    def fail(*arguments, **options):
        raise ConnectionError("no route") if failure == "connection" else Exception("no route")

    with monkeypatch.context() as offline:
        offline.setattr(hub, "_ask", answer)
        offline.setattr("datasets.load_dataset", fail)
        if failure == "no package":
            offline.setitem(sys.modules, "datasets", None)
        says = "not installed" if failure == "no package" else r"does not answer.*no route.*goes on"
        with pytest.raises(Unavailable, match=says):
            prepare(config, tmp_path / "cache")
    assert list((tmp_path / "cache").glob(".building-*/journal.json"))
    read_locally(monkeypatch, hub_folder[0])
    told = []
    prepare(config, tmp_path / "cache", lambda stage, _: told.append(stage))
    assert any("going on after" in stage for stage in told)


@pytest.fixture
def fineweb(tmp_path):
    """A clone with two configurations in FineWeb's layout, and the rows of each."""
    pytest.importorskip("datasets", reason="needs datasets: pip install adana[data]")
    folder, rows = tmp_path / "fineweb", {"sample-10BT": texts(40), "sample-100BT": texts(60, 40)}
    lines = ["---", "configs:"]
    for name, own in rows.items():
        place = folder / "sample" / name.removeprefix("sample-")
        place.mkdir(parents=True)
        parquet(place / "000_00000.parquet", own)
        lines += [f"- config_name: {name}", "  data_files:", "  - split: train"]
        lines += [f"    path: sample/{place.name}/*"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder, rows


@pytest.mark.libraries
def test_a_configuration_of_a_local_clone_is_chosen_by_name(fineweb):
    folder, rows = fineweb
    prints = set()
    for name, own in rows.items():
        text = open_text(DataConfig(f"hub:{folder}/{name}"))
        assert [document.text for document in text.read(None)] == own
        prints.add(text.fingerprint)
    assert len(prints) == 2


@pytest.mark.libraries
@pytest.mark.parametrize("name", ["", "/sample-1BT"])
def test_missing_configurations_list_those_there_are(fineweb, name):
    text = open_text(DataConfig(f"hub:{fineweb[0]}{name}"))
    with pytest.raises(CorpusError, match=r"\['sample-10BT', 'sample-100BT'\].*hub:FOLDER/CONFIG"):
        text.read(None)


def test_a_folder_named_like_an_owner_is_no_clone(tmp_path, monkeypatch):
    (tmp_path / "owner").mkdir()
    monkeypatch.chdir(tmp_path)
    assert hub._parse("hub:owner/name") == ("owner/name", None)
    (tmp_path / "owner" / "README.md").write_text("")
    assert hub._parse("hub:owner/name") == ("owner", "name")


def test_the_card_of_a_hub_data_set_may_tell_its_size(monkeypatch):
    def rule(card, subset="", **options):
        about = SimpleNamespace(sha="abc", card_data=card)
        monkeypatch.setattr(hub, "_ask", lambda path, full: about)
        text = open_text(DataConfig(f"hub:owner/name{subset}", **options))
        return text.rule.rpartition(" ")[2]

    splits = [{"name": "train", "num_bytes": 10**9}, {"name": "test", "num_bytes": "many"}]
    card = {"dataset_info": {"splits": splits}}
    assert rule(card) == "0.04", "10 million tokens are 40 of 1000 million bytes"
    assert rule(card, limit_tokens=10**8) == "0.1"
    assert rule(card, hub_split="test") == rule(card, "/other") == rule({}) == rule(None) == "0.001"
    card = {"dataset_info": [{"config_name": "other", "splits": splits}]}
    assert rule(card, "/other") == "0.04"


def test_nothing_held_out_of_a_text_of_unknown_size_names_the_flags_that_help(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(hub, "_ask", answer)
    rows = [Document(str(i), text) for i, text in enumerate(texts(50))]
    monkeypatch.setattr(hub, "_load", lambda *_: None)
    monkeypatch.setattr(hub, "_HubReader", lambda *_: ListReader(rows, None))
    config = DataConfig("hub:owner/name", 280, validation_fraction=0.4)
    says = r"no validation documents.*another --validation-tokens or --limit-tokens"
    with pytest.raises(CorpusError, match=says):
        prepare(config, tmp_path / "cache")
    for change in ({"validation_tokens": 4 * 10**9}, {"limit_tokens": 10**5}):
        shards = prepare(dataclasses.replace(config, **change), tmp_path / "cache")
        assert len(shards.validation) > 100


def test_only_what_the_hub_alone_can_give_is_remote(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("not a card")
    (tmp_path / "clone").mkdir()
    assert hub.is_remote("fineweb-10bt")
    assert hub.is_remote("hub:OWNER/NAME")
    assert not hub.is_remote("hub:clone")
    assert not hub.is_remote("clone")
    with pytest.raises(CorpusError, match="is no name of a hub data set"):
        hub.is_remote("hub:/typo")
