"""Muon's orthogonalisation for JAX: the iteration, and which axes of a leaf make a matrix."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adana.newton_schulz import NORM_EPS, NS_STEPS, iterate, step_size


def orthogonal(x: jax.Array, steps: Any = NS_STEPS) -> jax.Array:
    """Return a matrix with the singular values of `x` brought close to 1, to about 0.7 to 1.2.

    float64 stays float64; float32 is computed in bfloat16 on a GPU, as the torch class does, and
    in float32 elsewhere. `optax.contrib`'s iteration has another term beside the norm (1e-8) and
    works in the dtype it is given.
    """
    wide = x.shape[0] <= x.shape[1]
    y = x if wide else x.T

    def iterated(dtype: Any) -> Any:
        return lambda y: _iterated(y.astype(dtype), steps).astype(x.dtype)

    if x.dtype == jnp.float64:
        y = iterated(jnp.float64)(y)
    else:
        low = iterated(jnp.bfloat16)
        y = jax.lax.platform_dependent(y, cuda=low, rocm=low, default=iterated(jnp.float32))
    return y if wide else y.T


def _iterated(y: jax.Array, steps: Any) -> jax.Array:
    y = y / (jnp.linalg.norm(y) + NORM_EPS)
    if isinstance(steps, jax.Array):  # injected or mapped over: not known while tracing
        return jax.lax.fori_loop(0, steps.astype(jnp.int32), lambda _, y: iterate(y), y)
    for _ in range(int(steps)):
        y = iterate(y)
    return y


@dataclasses.dataclass(frozen=True)
class Axes:
    """The axes of a leaf that make the rows and the columns of a matrix; the others stack them."""

    rows: tuple[int, ...] = (0,)
    columns: tuple[int, ...] = (1,)

    def step(self, x: jax.Array, ns_steps: Any, rms_scale: Any) -> jax.Array:
        """Return the orthogonalised leaf times the size of a step, in the shape of `x`."""
        stack = tuple(i for i in range(x.ndim) if i not in self.rows + self.columns)
        order = (*stack, *self.rows, *self.columns)
        rows, columns = (math.prod(x.shape[i] for i in axes) for axes in (self.rows, self.columns))
        moved = x.transpose(order)
        matrices = moved.reshape(-1, rows, columns)
        if matrices.shape[0] == 1:
            matrices = orthogonal(matrices[0], ns_steps)
        else:
            matrices = jax.vmap(lambda m: orthogonal(m, ns_steps))(matrices)
        size = jnp.asarray(step_size(rows, columns, rms_scale), x.dtype)
        return size * matrices.reshape(moved.shape).transpose(tuple(np.argsort(order)))


def matrix_axes(muon: Any, params: optax.Params) -> Any:
    """Return a tree shaped as `params`: `Axes` of what is orthogonalised, False for the rest."""
    specs = muon(params) if callable(muon) else muon

    def below(spec: Any, subtree: Any) -> Any:
        return jax.tree.map(lambda p: _axes(spec, p), subtree)

    return jax.tree.map(below, specs, params, is_leaf=_is_spec)


def check_muon(muon: Any) -> None:
    """Raise `ValueError` unless `muon` is a function or a tree of what `matrix_axes` knows."""
    if callable(muon):
        return
    for spec in jax.tree.leaves(muon, is_leaf=_is_spec):
        if not (_is_spec(spec) or isinstance(spec, bool | np.bool_)):
            raise ValueError(
                "muon must be a tree of booleans or optax.contrib.MuonDimensionNumbers shaped as "
                f"the parameters (or a prefix of it), or a function returning one; got {spec!r}"
            )


def _is_spec(spec: Any) -> bool:
    return spec is None or (hasattr(spec, "reduction_axis") and hasattr(spec, "output_axis"))


def _axes(spec: Any, p: Any) -> Axes | bool:
    shape = jnp.shape(p)
    if not hasattr(spec, "reduction_axis"):
        if spec is None or not bool(spec) or len(shape) < 2 or 0 in shape:
            return False
        if len(shape) > 2:
            raise ValueError(
                f"muon is True for a parameter of shape {shape}, which leaves open what its matrix "
                "is: give optax.contrib.MuonDimensionNumbers(reduction_axis, output_axis) in place "
                "of True; axes named in neither stack matrices"
            )
        return Axes()
    pair = [axes if isinstance(axes, tuple | list) else (axes,) for axes in spec]
    named = [a for axes in pair for a in axes]
    distinct = len({a % len(shape) for a in named}) == len(named) if shape else False
    if not distinct or not all(pair) or not all(-len(shape) <= a < len(shape) for a in named):
        raise ValueError(
            f"muon gives {spec} for a parameter of shape {shape}: both need at least one axis, and "
            "each axis may be named once"
        )
    rows, columns = (tuple(a % len(shape) for a in axes) for axes in pair)
    return Axes(rows, columns) if 0 not in shape else False
