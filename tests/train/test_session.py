"""What a session says of a directory that holds another run."""

import dataclasses
import shutil

import pytest

from adana.data import DataConfig, prepare
from adana.runs import Run, RunError
from adana.train import OptimizerConfig, train
from tests.train.conftest import VOCAB, write_corpus


@pytest.fixture
def begun(config, tmp_path, monkeypatch):
    """A finished run of one step, the tokens of its text changed since, and the cache of both."""
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    corpus = write_corpus(tmp_path / "text")
    config = dataclasses.replace(config, data=DataConfig(str(corpus), VOCAB), steps=1)
    shards = prepare(config.data)
    run = Run(tmp_path / "run")
    train(config, shards, run)
    (corpus / "module_0.py").write_text("something else\n" * 90)
    return config, shards, prepare(config.data), run


def refusal(config, shards, run):
    with pytest.raises(RunError, match="holds a run with other settings") as caught:
        train(config, shards, run)
    return str(caught.value)


def test_of_a_run_whose_text_has_changed_the_tokens_are_named_before_it_is_deleted(begun):
    config, old, new, run = begun
    said = refusal(config, new, run)
    assert "the text has changed since" in said
    assert said.endswith(
        "Its tokens are still in the cache: the same command with --data "
        f"{old.folder.name} goes on. Or name another directory with --run, or delete this one."
    )
    assert train(config, old, run).state == "finished"
    shutil.rmtree(old.folder)
    assert refusal(config, new, run).endswith(
        "Name another directory with --run, or delete this one."
    )
    assert "in the cache" not in refusal(config, new, run)


def test_where_more_than_the_text_differs_it_is_not_the_same_command_that_goes_on(begun):
    config, old, new, run = begun
    other = dataclasses.replace(config, optimizer=OptimizerConfig("adana", lr=0.5))
    said = refusal(other, new, run)
    assert f"the command that it was begun with, with --data {old.folder.name} goes on" in said
    assert "in the cache" not in refusal(other, old, run)


def test_the_same_tokens_under_another_name_are_no_difference(begun):
    config, old, _, run = begun
    named = dataclasses.replace(config.data, corpus="elsewhere", prepared=old.folder.name)
    other = dataclasses.replace(config, data=named, optimizer=OptimizerConfig("adana", lr=0.5))
    said = refusal(other, old, run)
    assert "(optimizer.lr: 0.008 there, 0.5 asked for)" in said
