"""Which sequences a rank reads, and in which pieces."""

from __future__ import annotations

from dataclasses import dataclass

from adana.train.config import TrainConfig
from adana.train.world import World

Request = tuple[int, int]
"""First global index and number of the sequences of a micro-batch."""


@dataclass(frozen=True)
class Share:
    """A rank's part of every batch.

    Step t (from 1) trains on the sequences (t - 1) B ... t B - 1 of the stream, whatever the ranks
    and micro-batches; of W ranks, rank r takes the r-th run of B / W of them.
    """

    batch: int
    """B."""
    first: int
    """Where the rank's run begins in the batch."""
    size: int
    """Its length, B / W."""
    micro: int
    """Sequences of a micro-batch; the last one of a step may have fewer."""

    def step(self, step: int) -> list[Request]:
        """Return the micro-batches of the step after `step` completed ones."""
        begin = step * self.batch + self.first
        starts = range(0, self.size, self.micro)
        return [(begin + start, min(self.micro, self.size - start)) for start in starts]

    def following(self, first: int, count: int) -> Request:
        """Return the micro-batch that comes after a given one, for reading ahead."""
        step = first // self.batch
        own = self.step(step)
        index = own.index((first, count)) + 1
        return own[index] if index < len(own) else self.step(step + 1)[0]


def share_of(config: TrainConfig, world: World) -> Share:
    """Return the part of a rank; `ValueError` if the ranks cannot share a batch equally."""
    if config.batch_size % world.size:
        raise ValueError(
            f"a batch of {config.batch_size} sequences cannot be shared equally by {world.size} "
            "ranks. Start a number of ranks that divides it, or change --batch-size."
        )
    own = config.batch_size // world.size
    micro = min(config.layout.micro_batch or own, own)
    return Share(config.batch_size, world.rank * own, own, micro)
