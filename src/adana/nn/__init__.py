"""The models, their initial weights and their counts."""

from adana.nn.build import MODELS, build_model
from adana.nn.config import (
    FAMILIES,
    EnokiConfig,
    Family,
    InitScheme,
    LSTMConfig,
    ModelConfig,
    Qwen3Config,
    model_config_from_dict,
    model_config_to_dict,
)
from adana.nn.counts import Counts, count_parameters, model_flops, training_flops
from adana.nn.decoder import Decoder
from adana.nn.enoki import Enoki
from adana.nn.init import SCHEMES
from adana.nn.loss import LossTerms
from adana.nn.lstm import LSTMModel
from adana.nn.matmul_peak import measure_matmul_peak
from adana.nn.qwen3 import Qwen3
from adana.units import PFH

__all__ = [
    "FAMILIES",
    "MODELS",
    "PFH",
    "SCHEMES",
    "Counts",
    "Decoder",
    "Enoki",
    "EnokiConfig",
    "Family",
    "InitScheme",
    "LSTMConfig",
    "LSTMModel",
    "LossTerms",
    "ModelConfig",
    "Qwen3",
    "Qwen3Config",
    "build_model",
    "count_parameters",
    "measure_matmul_peak",
    "model_config_from_dict",
    "model_config_to_dict",
    "model_flops",
    "training_flops",
]
