"""`torch.distributed.checkpoint`, imported with the first checkpoint: half of torch's own time.

Used as a module: `from adana.train import dcp`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.distributed.checkpoint import *  # noqa: F403 (the names that `__getattr__` finds)
else:

    def __getattr__(name: str) -> Any:
        import torch.distributed.checkpoint as found  # noqa: PLC0415

        return getattr(found, name)
