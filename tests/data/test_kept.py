"""A run finds its tokenizer, in its own directory or in the prepared data."""

import pytest

from adana.data import DataConfig, prepare, run_tokenizer, save_tokenizer
from adana.data.tokenizer import train_tokenizer
from adana.runs import CONFIG_VERSION, Run, RunError, write_json

VOCAB = 280


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def shards(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("texts")
    for i in range(20):
        (folder / f"{i}.txt").write_text("".join(f"line {i} {j * i}\n" for j in range(100)))
    return prepare(DataConfig(corpus=str(folder), vocab_size=VOCAB), cache)


@pytest.fixture
def run(tmp_path, shards):
    run = Run(tmp_path / "run")
    run.create()
    data = {"corpus": "texts", "vocab_size": VOCAB, "fingerprint": shards.fingerprint}
    write_json(run.path / "config.json", {"version": CONFIG_VERSION, "data": data})
    return run


def test_a_tokenizer_kept_in_the_run_directory_is_the_one_used(run, tmp_path):
    own = train_tokenizer(["something else entirely " * 20], 262)
    save_tokenizer(run, own)
    assert run_tokenizer(run, tmp_path / "no cache").fingerprint == own.fingerprint
    for path in (run.path, str(run.path)):
        assert run_tokenizer(path).fingerprint == own.fingerprint


def test_a_run_without_one_finds_it_by_the_fingerprint_of_its_data(run, shards, cache):
    other = cache / "0000" / "manifest.json"
    other.parent.mkdir(exist_ok=True)
    other.write_text("{}")
    assert run_tokenizer(run, cache).fingerprint == shards.tokenizer.fingerprint


def test_where_it_is_nowhere_the_error_says_how_to_get_it_back(run, tmp_path):
    with pytest.raises(RunError, match="adana data --data texts --vocab-size 280"):
        run_tokenizer(run, tmp_path / "empty")


def test_other_data_in_the_cache_is_not_taken(run, cache):
    config = run.config()
    config["data"]["fingerprint"] = "another"
    write_json(run.path / "config.json", config)
    with pytest.raises(RunError, match=r"no tokenizer\.json"):
        run_tokenizer(run, cache)


def test_a_broken_tokenizer_is_named(run, cache):
    (run.path / "tokenizer.json").write_text("{}")
    with pytest.raises(RunError, match=r"tokenizer\.json cannot be used"):
        run_tokenizer(run, cache)
