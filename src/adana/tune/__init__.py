"""Tuning any training, and the engines that run many of them.

The method: `docs/tuning.md`. Nothing here knows what a training is.
"""

from adana.tune.budget import Budget, budget_of, planned_runs, widest_batch
from adana.tune.combination import Combination
from adana.tune.descent import Descent, Move, descend
from adana.tune.engine import Emit, Engine, Result, Work
from adana.tune.evaluate import Evaluator, FailedTrials, InProcess, Runner
from adana.tune.joint import JointCheck, check_jointly
from adana.tune.local import LocalEngine, run_jobs
from adana.tune.meter import Progress
from adana.tune.noise import NoiseFloor, noise_floor
from adana.tune.presets import PRESETS, aligned, own_default, preset_of, preset_space
from adana.tune.problem import Problem, Rules
from adana.tune.ray_engine import RayEngine
from adana.tune.result import ScaleResult, StudyResult, earlier_bests, spent_below
from adana.tune.scale import Scale
from adana.tune.sensitivity import Sensitivity, sensitivities
from adana.tune.space import Beta, Choice, Float, Integer, Log, Space, baseline_of
from adana.tune.sweep import Sweep
from adana.tune.trial import FunctionObjective, Objective, Stopped, Trial
from adana.tune.tuner import tune, tune_scales
from adana.tune.worker import Limits

__all__ = [
    "PRESETS",
    "Beta",
    "Budget",
    "Choice",
    "Combination",
    "Descent",
    "Emit",
    "Engine",
    "Evaluator",
    "FailedTrials",
    "Float",
    "FunctionObjective",
    "InProcess",
    "Integer",
    "JointCheck",
    "Limits",
    "LocalEngine",
    "Log",
    "Move",
    "NoiseFloor",
    "Objective",
    "Problem",
    "Progress",
    "RayEngine",
    "Result",
    "Rules",
    "Runner",
    "Scale",
    "ScaleResult",
    "Sensitivity",
    "Space",
    "Stopped",
    "StudyResult",
    "Sweep",
    "Trial",
    "Work",
    "aligned",
    "baseline_of",
    "budget_of",
    "check_jointly",
    "descend",
    "earlier_bests",
    "noise_floor",
    "own_default",
    "planned_runs",
    "preset_of",
    "preset_space",
    "run_jobs",
    "sensitivities",
    "spent_below",
    "tune",
    "tune_scales",
    "widest_batch",
]
