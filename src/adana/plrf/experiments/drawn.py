"""Problems that an experiment draws: refused, where they cannot be, by the name of its argument."""

from __future__ import annotations

from adana.plrf.problem import PLRF, DrawnProblem


def draw_problem(problem: PLRF, argument: str) -> DrawnProblem:
    """Draw a problem whose dimension is the experiment's `argument`, needed for its `runs`.

    Raises `ValueError` where its features fall off too fast for float64 to tell them apart.
    """
    try:
        return problem.draw()
    except ValueError as error:
        raise ValueError(
            f"{argument} must be small enough for float64 to tell the drawn features apart, but at "
            f"alpha = {problem.alpha:g} those of {problem.dimension} parameters fall off too fast: "
            f"take a smaller {argument}, or runs = 0 for no runs"
        ) from error
