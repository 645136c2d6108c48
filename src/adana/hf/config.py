"""The configuration of a model in the form of transformers."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from adana.nn import EnokiConfig, ModelConfig, model_config_from_dict, model_config_to_dict


class AdanaConfig(PretrainedConfig):
    """Any of the model families, under the type "adana".

    `shape` is the family and its sizes (`adana.nn.model_config_to_dict`); by default an
    `EnokiConfig()`. The usual names, such as `vocab_size` and `max_position_embeddings`, are read
    off it and cannot be set apart. `seed` decides the weights of a model made without a checkpoint.
    """

    model_type = "adana"

    shape: dict[str, Any] | None = None
    seed: int = 0
    use_cache: bool = False
    vocab_size: int | None = None
    hidden_size: int | None = None
    num_hidden_layers: int | None = None
    max_position_embeddings: int | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.shape = self.shape or model_config_to_dict(EnokiConfig())
        model = self.model_config
        self.vocab_size = model.vocab_size
        self.hidden_size = model.width
        self.num_hidden_layers = model.depth
        self.max_position_embeddings = model.sequence_length
        super().__post_init__(**kwargs)

    @property
    def model_config(self) -> ModelConfig:
        """The configuration that `adana.nn.build_model` takes; `ValueError` if it is none."""
        return model_config_from_dict(self.shape or {})

    @classmethod
    def of(cls, model: ModelConfig, **kwargs: Any) -> AdanaConfig:
        """Return the configuration of a model of ours; `kwargs` as for any `PretrainedConfig`."""
        return cls(shape=model_config_to_dict(model), **kwargs)
