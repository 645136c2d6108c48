"""From a configuration to its model."""

from __future__ import annotations

from typing import Any

from adana.nn.config import ModelConfig
from adana.nn.decoder import Decoder
from adana.nn.enoki import Enoki
from adana.nn.lstm import LSTMModel
from adana.nn.qwen3 import Qwen3

MODELS: dict[str, type[Any]] = {
    model.config_type.family: model for model in (Enoki, Qwen3, LSTMModel)
}
"""The model classes by the name of their family."""


def build_model(config: ModelConfig, seed: int | None = 0) -> Decoder[Any]:
    """Return the model of `config` with the initial weights of `seed`.

    With `seed` None the weights are left as torch made them; call `init_weights` later. So under
    `torch.device("meta")`, where nothing is allocated.
    """
    return MODELS[config.family](config, seed)
