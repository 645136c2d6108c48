"""Kernels are made once in a process, and what failed once is not tried at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from adana.optim.kernel.c_library import CannotCompile
from adana.optim.kernel.recipe import Recipe

Made = TypeVar("Made")


class Once(Generic[Made]):
    """A function of a recipe that is called once for each.

    Raises:
        CannotCompile: with the words it was raised with at first. The exception itself would keep
            the frames it went through, and with them the gradients of a step.
    """

    def __init__(self, make: Callable[[Recipe], Made]) -> None:
        self._make = make
        self.known: dict[Recipe, Made | str] = {}
        """What was made, or why that failed."""

    def __call__(self, recipe: Recipe) -> Made:
        """Return what is made of `recipe`."""
        if recipe not in self.known:
            try:
                self.known[recipe] = self._make(recipe)
            except CannotCompile as error:
                self.known[recipe] = str(error)
        found = self.known[recipe]
        if isinstance(found, str):
            raise CannotCompile(found)
        return found
