"""What a run ended with, in a form that two runs can be compared by."""

from safetensors.torch import load_file

from adana.runs import Run
from adana.train.checkpoint import list_checkpoints, verify_checkpoint


def metrics_without_timing(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "timing"} for row in run.metrics()]


def final_state(run: Run) -> dict:
    """The newest checkpoint of a run on one rank: plain values, and tensors by name."""
    newest = list_checkpoints(run.checkpoints)[-1]
    (file,) = newest.glob("*.safetensors")
    return {**verify_checkpoint(newest), "tensors": load_file(file)}


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
    for state in (left, right):  # clocks
        for name in [key for key in state if key.startswith(("/seconds", "/split"))]:
            del state[name]
    assert left.keys() == right.keys()
    for name, value in left.items():
        other = right[name]
        same = value.equal(other) if hasattr(value, "equal") else value == other
        assert same, name
    assert metrics_without_timing(a) == metrics_without_timing(b)
