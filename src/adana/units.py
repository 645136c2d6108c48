"""Units that numbers are stated in."""

PFH = 3.6e18
"""FLOPs in one petaFLOP/s-hour, the unit of compute C."""
