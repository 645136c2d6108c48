"""The optimizers: one family, one update, many schedules."""

from adana.optim.ablations import ABLATIONS, AblatedADana
from adana.optim.adamw import LogAdamW
from adana.optim.adana import ADana
from adana.optim.ademamix import AdEMAMix, LogAdEMAMix
from adana.optim.averaging import log_time_average
from adana.optim.base import LogTimeOptimizer
from adana.optim.clipping import clip_grad_norm
from adana.optim.coded import Bf16Weights, StateDtype
from adana.optim.convert import convert_states
from adana.optim.dana import Dana
from adana.optim.dana_mk4 import DanaMK4
from adana.optim.dana_star import DanaStar, DanaStarMK4
from adana.optim.decay import with_log_time_decay
from adana.optim.full_precision import float32_state_dict
from adana.optim.groups import param_groups
from adana.optim.log_muon import LogMuon
from adana.optim.migrate import load_adamw_state
from adana.optim.offload import offload_states
from adana.optim.release import release_gradients
from adana.optim.update import Form, Hyper

__all__ = [
    "ABLATIONS",
    "ADana",
    "AblatedADana",
    "AdEMAMix",
    "Bf16Weights",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "Form",
    "Hyper",
    "LogAdEMAMix",
    "LogAdamW",
    "LogMuon",
    "LogTimeOptimizer",
    "StateDtype",
    "clip_grad_norm",
    "convert_states",
    "float32_state_dict",
    "load_adamw_state",
    "log_time_average",
    "offload_states",
    "param_groups",
    "release_gradients",
    "with_log_time_decay",
]
