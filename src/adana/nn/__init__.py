"""The models, their initial weights and their counts."""

from adana.nn.config import (
    FAMILIES,
    EnokiConfig,
    InitScheme,
    LSTMConfig,
    ModelConfig,
    Qwen3Config,
    model_config_from_dict,
    model_config_to_dict,
)
from adana.nn.counts import PFH, Counts, count_parameters, training_flops
from adana.nn.enoki import Enoki
from adana.nn.matmul_peak import measure_matmul_peak

__all__ = [
    "FAMILIES",
    "PFH",
    "Counts",
    "Enoki",
    "EnokiConfig",
    "InitScheme",
    "LSTMConfig",
    "ModelConfig",
    "Qwen3Config",
    "count_parameters",
    "measure_matmul_peak",
    "model_config_from_dict",
    "model_config_to_dict",
    "training_flops",
]
