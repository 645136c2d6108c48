"""The shapes of the models as data."""

import pytest

from adana.nn import (
    EnokiConfig,
    LSTMConfig,
    Qwen3Config,
    model_config_from_dict,
    model_config_to_dict,
)

CONFIGS = [
    EnokiConfig(heads=3, qk_norm=False, init="standard"),
    Qwen3Config(heads=2, layers=5, vocab_size=99),
    LSTMConfig(width=48, sequence_length=7, init="small-std"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.family)
def test_a_configuration_survives_its_dictionary(config):
    content = model_config_to_dict(config)
    assert content["family"] == config.family
    assert model_config_from_dict(content) == config


def test_a_field_that_an_older_record_lacks_gets_its_default():
    content = model_config_to_dict(EnokiConfig(heads=3))
    del content["init"]
    assert model_config_from_dict(content) == EnokiConfig(heads=3)


def test_a_dictionary_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='no "family"'):
        model_config_from_dict({"heads": 3})
    with pytest.raises(ValueError, match="unknown model family 'gru'; expected one of enoki"):
        model_config_from_dict({"family": "gru"})
    with pytest.raises(ValueError, match="lstm has no heads; its fields are"):
        model_config_from_dict({"family": "lstm", "heads": 3})


@pytest.mark.parametrize("kind", [EnokiConfig, Qwen3Config])
def test_impossible_transformers_are_refused(kind):
    with pytest.raises(ValueError, match="even"):
        kind(head_dim=33)
    with pytest.raises(ValueError, match="heads must be at least 1, got 0"):
        kind(heads=0)


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        LSTMConfig(width=0)
    with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
        LSTMConfig(layers=0)
    with pytest.raises(ValueError, match="init must be one of scaled-gpt, standard, small-std"):
        Qwen3Config(init="xavier")
