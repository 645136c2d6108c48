"""The flags that choose the model."""

import pytest

from adana.cli.settings import Settings, describe
from adana.ladder import DEMO_MODEL
from adana.nn import EnokiConfig, LSTMConfig, Qwen3Config
from adana.train import OptimizerConfig

COMMON = {"vocab_size": 1024, "sequence_length": 128}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, DEMO_MODEL),
        ({"heads": 6, "head_dim": 64}, EnokiConfig(heads=6, **COMMON)),
        (
            {"model": "qwen3", "heads": 4, "head_dim": 128, "init": "small-std"},
            Qwen3Config(heads=4, init="small-std", **COMMON),
        ),
        ({"model": "lstm", "width": 96}, LSTMConfig(width=96, layers=2, **COMMON)),
        ({"model": "lstm", "layers": 3}, LSTMConfig(width=64, layers=3, **COMMON)),
    ],
)
def test_flags_give_the_model_they_name(flags, expected):
    assert Settings(**flags).model_config() == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "lstm", "heads": 2}, "--heads does not go with --model lstm"),
        ({"model": "lstm", "head_dim": 32}, "--head-dim does not go with --model lstm"),
        ({"model": "qwen3", "width": 64}, "--width does not go with --model qwen3"),
        ({"width": 64}, "--width does not go with --model enoki"),
    ],
)
def test_a_flag_that_the_family_does_not_have_is_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        Settings(**flags).model_config()


class Shards:
    train = range(1000)

    def bytes_per_token(self, _split):
        return 3.0


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        ({}, "enoki, width 64 = 2 heads x 32; 2 layers; init scaled-gpt"),
        ({"model": "qwen3"}, "qwen3, width 64 = 2 heads x 32; 4 layers; init scaled-gpt"),
        ({"model": "lstm", "init": "standard"}, "lstm, width 64; 2 layers; init standard"),
    ],
)
def test_every_family_is_described(flags, shape):
    config = Settings(**flags).train_config(OptimizerConfig("adamw", 0.01))
    rows = dict(describe(config, Shards()))
    assert rows["model"] == shape
    assert "without embeddings (P)" in rows["parameters"]
