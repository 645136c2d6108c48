"""Mirrors of a run's metrics where people like to look: TensorBoard, Weights & Biases, trackio.

The record is ``metrics.jsonl``. A tracker gets the same rows, may fail without harm, and can be
filled again from the record at any time (`replay`).

>>> mirror = Mirror(run, open_trackers(["tensorboard"]))      # doctest: +SKIP
>>> mirror.start(config, resume_step=-1)                      # doctest: +SKIP
>>> mirror.row({"step": 10, "tokens": 20480, "train_loss": 5.1})  # doctest: +SKIP
>>> mirror.finish("finished", summary)                        # doctest: +SKIP
"""

from adana.trackers.base import Tracker
from adana.trackers.mirror import Mirror, replay
from adana.trackers.names import flatten_row
from adana.trackers.registry import TRACKERS, open_trackers

__all__ = ["TRACKERS", "Mirror", "Tracker", "flatten_row", "open_trackers", "replay"]
