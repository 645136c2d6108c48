"""Log-time optimizers for language models.

>>> import adana
>>> # optimizer = adana.ADana(adana.param_groups(model), lr=1e-3, total_steps=10_000)

Importing this package imports torch and nothing else that is heavy; the training engine, the
comparison tool and the report live in subpackages that are imported when used.
"""

from adana import schedules
from adana.optim import (
    ADana,
    AdEMAMix,
    Dana,
    DanaMK4,
    DanaStar,
    DanaStarMK4,
    LogAdamW,
    LogAdEMAMix,
    LogMuon,
    clip_grad_norm,
    convert_states,
    float32_state_dict,
    load_adamw_state,
    log_time_average,
    offload_states,
    param_groups,
    release_gradients,
    with_log_time_decay,
)

__version__ = "0.1.0"

__all__ = [
    "ADana",
    "AdEMAMix",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "LogAdEMAMix",
    "LogAdamW",
    "LogMuon",
    "__version__",
    "clip_grad_norm",
    "convert_states",
    "float32_state_dict",
    "load_adamw_state",
    "log_time_average",
    "offload_states",
    "param_groups",
    "release_gradients",
    "schedules",
    "with_log_time_decay",
]
