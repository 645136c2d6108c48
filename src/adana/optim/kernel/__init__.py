"""Fused steps: kernels made from the one definition of the update, in C and in Triton."""
