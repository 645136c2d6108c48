"""Corpora of rows, of the hub and of the interpreter, listed and streamed."""

import hashlib
import json
import os
import sys
import time

import numpy as np
import pytest

from adana.data import CorpusError, DataConfig, Unreachable, prepare, read_corpus, sources
from adana.data import build as build_module
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
        "1 empty documents left out",
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
    with pytest.raises(CorpusError, match='no text column "id" among text, id'):
        read_corpus(str(tmp_path), "id")


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
    assert corpus.notes == ["1 exact duplicates left out"]


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
    monkeypatch.setattr("adana.data.split.UNKNOWN_SIZE_FRACTION", 0.1)
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
    config = DataConfig(f"hub:{hub_folder[0]}", 280, validation_tokens=10**9)
    monkeypatch.setattr("adana.data.split.UNKNOWN_SIZE_FRACTION", 0.1)
    count = 0

    def interrupt(stage, fraction):
        nonlocal count
        count += "turning text" in stage
        if count == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config, tmp_path / "cache", interrupt, shard_tokens=1000)
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
    monkeypatch.setattr(hub, "_revision", lambda path, full: "abc")
    text = open_text(DataConfig("fineweb-10bt"))
    with pytest.raises(CorpusError, match=r'datasets.*pip install "adana\[data\]"'):
        text.read(None)


def test_the_published_corpora_have_short_names(monkeypatch):
    monkeypatch.setattr(hub, "_revision", lambda path, full: "abc")
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
    folder, _ = hub_folder
    monkeypatch.setattr("adana.data.split.UNKNOWN_SIZE_FRACTION", 0.1)
    load = hub._load

    def local(path, subset, revision, config):
        assert (path, subset, revision) == ("owner/name", "small", "abc")
        return load(str(folder), None, None, config)

    monkeypatch.setattr(hub, "_load", local)
    monkeypatch.setattr(hub, "_revision", lambda path, full: "abc")
    config = DataConfig("hub:owner/name/small", 280)
    online = prepare(config, tmp_path / "cache")
    assert online.manifest["corpus"]["notes"] == ["hub:owner/name/small at revision abc"]

    def nobody(path, full):
        raise Unreachable("the hub does not answer")

    monkeypatch.setattr(hub, "_revision", nobody)
    told = []
    offline = prepare(config, tmp_path / "cache", lambda stage, _: told.append(stage))
    assert offline.fingerprint == online.fingerprint
    assert any("prepared before" in stage for stage in told)
    with pytest.raises(Unreachable):
        prepare(DataConfig("hub:owner/name/small", 281), tmp_path / "cache")
