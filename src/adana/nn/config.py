"""The shapes of the models, as plain data: what a run records, what is counted and built.

Nothing here touches torch, so that plans for models of any size cost nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

InitScheme = Literal["scaled-gpt", "standard", "small-std"]
"""How weights start; `adana.nn.init.SCHEMES` says what each name means."""
Family = Literal["enoki", "qwen3", "lstm"]
"""The families of models (docs/models.md)."""


@dataclass(frozen=True, kw_only=True)
class _Common:
    """What every family has."""

    vocab_size: int = 50_304
    """Rows of the embedding and of the head."""
    sequence_length: int = 2048
    """Longest context in tokens."""
    init: InitScheme = "scaled-gpt"
    """Initial weights; the published runs used scaled-gpt (spec/training.md section 1.3)."""

    family: ClassVar[str]
    sizes: ClassVar[tuple[str, ...]]
    """The fields that must be at least 1."""

    def __post_init__(self) -> None:
        for name in (*self.sizes, "layers", "vocab_size", "sequence_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"model.{name} must be at least 1, got {value}")
        if self.init not in get_args(InitScheme):
            known = ", ".join(get_args(InitScheme))
            raise ValueError(f"model.init must be one of {known}, got {self.init!r}")


@dataclass(frozen=True)
class _Transformer(_Common):
    """A shape made of attention heads."""

    heads: int = 6
    """Attention heads H; the rung of the ladder."""
    layers: int | None = None
    """Blocks L. Default: the ladder's rule for H heads."""
    head_dim: int = 64
    """Channels of a head, even. The width is heads * head_dim."""

    sizes = ("heads", "head_dim")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim % 2:
            raise ValueError(
                f"model.head_dim must be even (rotary positions pair channels), got {self.head_dim}"
            )

    @property
    def width(self) -> int:
        """Channels of the residual stream, d = heads * head_dim."""
        return self.heads * self.head_dim


@dataclass(frozen=True)
class EnokiConfig(_Transformer):
    """Shape of an Enoki model: floor(3 H / 4) layers, at least 1, unless `layers` is given."""

    qk_norm: bool = True
    """LayerNorm over the channels of each query and key head."""

    family = "enoki"

    @property
    def depth(self) -> int:
        """Number of blocks L."""
        return self.layers if self.layers is not None else max(1, 3 * self.heads // 4)


@dataclass(frozen=True)
class Qwen3Config(_Transformer):
    """Shape of a Qwen3-style model: 2 H layers unless `layers` is given, an MLP of width 3 d."""

    heads: int = 4
    """Attention heads H; the rung of the ladder."""
    head_dim: int = 128
    """Channels of a head, even. The width is heads * head_dim."""

    family = "qwen3"

    @property
    def depth(self) -> int:
        """Number of blocks L."""
        return self.layers if self.layers is not None else 2 * self.heads


@dataclass(frozen=True)
class LSTMConfig(_Common):
    """Shape of an LSTM language model: one width for the embedding and all hidden states.

    No ladder of it is published with numbers, so the defaults are ours: width 512, two layers.
    """

    width: int = 512
    """Channels d of the embedding, of the residual stream and of every hidden state."""
    layers: int = 2
    """Blocks L."""

    family = "lstm"
    sizes = ("width",)

    @property
    def depth(self) -> int:
        """Number of blocks L."""
        return self.layers


ModelConfig = EnokiConfig | Qwen3Config | LSTMConfig
FAMILIES: dict[str, type[ModelConfig]] = {
    kind.family: kind for kind in (EnokiConfig, Qwen3Config, LSTMConfig)
}
"""The kinds of configuration by the name of their family."""


def model_config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Return a configuration as plain values, its family under the key "family"."""
    return {"family": config.family, **dataclasses.asdict(config)}


def model_config_from_dict(content: Mapping[str, Any]) -> ModelConfig:
    """Rebuild what `model_config_to_dict` returned; fields that are missing get their defaults.

    Raises:
        ValueError: the family is missing or unknown, a field is unknown, or a value out of range.
    """
    fields = dict(content)
    known = ", ".join(FAMILIES)
    if "family" not in fields:
        raise ValueError(f'the model\'s configuration has no "family"; expected one of {known}')
    family = fields.pop("family")
    if family not in FAMILIES:
        raise ValueError(f"unknown model family {family!r}; expected one of {known}")
    kind = FAMILIES[family]
    names = [field.name for field in dataclasses.fields(kind)]
    unknown = [name for name in fields if name not in names]
    if unknown:
        raise ValueError(
            f"a model of the family {family} has no {', '.join(unknown)}; "
            f"its fields are {', '.join(names)}"
        )
    return kind(**fields)
