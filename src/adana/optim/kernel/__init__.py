"""Fused steps: kernels made from the one definition of the update, for CPUs (C) and GPUs (Triton)."""
