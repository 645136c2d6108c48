"""The models, their initial weights and their counts."""

from adana.nn.counts import PFH, Counts, count_parameters, training_flops
from adana.nn.enoki import Enoki, EnokiConfig

__all__ = ["PFH", "Counts", "Enoki", "EnokiConfig", "count_parameters", "training_flops"]
