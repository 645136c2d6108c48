"""What a run ended with, in a form that two runs can be compared by."""

from adana.runs import Run
from adana.train.checkpoint import list_checkpoints, load_checkpoint


def metrics_without_timing(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "timing"} for row in run.metrics()]


def final_state(run: Run) -> dict:
    return load_checkpoint(list_checkpoints(run.checkpoints)[-1])


def flat(state, prefix="") -> dict:
    """Leaves of a nested state by path, so that a difference names itself."""
    if isinstance(state, dict):
        items = state.items()
    elif isinstance(state, list | tuple):
        items = enumerate(state)
    else:
        return {prefix: state}
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}/{key}").items()}


def assert_same_end(a: Run, b: Run) -> None:
    """Weights, optimizer state and metrics are the same to the bit."""
    left, right = flat(final_state(a)), flat(final_state(b))
    for clock in ("/seconds",):
        left.pop(clock), right.pop(clock)
    assert left.keys() == right.keys()
    for name, value in left.items():
        other = right[name]
        same = value.equal(other) if hasattr(value, "equal") else value == other
        assert same, name
    assert metrics_without_timing(a) == metrics_without_timing(b)
