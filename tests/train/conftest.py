"""A corpus and a model small enough to train in a second."""

import dataclasses
from pathlib import Path

import pytest
import torch

from adana.data import DataConfig, prepare
from adana.nn import EnokiConfig
from adana.train import LayoutConfig, OptimizerConfig, TrainConfig

VOCAB = 300


def write_corpus(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(40):
        lines = [f"def function_{i}_{j}(x):\n    return x * {i * j} + {j}\n" for j in range(40)]
        (folder / f"module_{i}.py").write_text("\n".join(lines))
    return folder


def tiny_config(corpus: Path, **changes) -> TrainConfig:
    config = TrainConfig(
        optimizer=OptimizerConfig("adana", lr=8e-3),
        steps=12,
        batch_size=4,
        model=EnokiConfig(heads=2, layers=1, head_dim=8, vocab_size=VOCAB, sequence_length=32),
        data=DataConfig(corpus=str(corpus), vocab_size=VOCAB),
        eval_tokens=512,
        eval_every=4,
        log_every=3,
        layout=LayoutConfig(device="cpu", threads=1, checkpoint_every=2),
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def shards(corpus, tmp_path_factory):
    data = DataConfig(corpus=str(corpus), vocab_size=VOCAB)
    return prepare(data, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def config(corpus):
    return tiny_config(corpus)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
