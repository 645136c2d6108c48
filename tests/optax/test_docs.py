"""What the guide, the docstrings and the example say about the port is true."""

import doctest
import importlib
import re
import runpy
from pathlib import Path

import pytest

from .common import ao, jax, jnp

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "optax.md").read_text()


def test_the_code_of_the_guide_runs_in_one_go():
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)
        params, optimizer = names["params"], names["optimizer"]
        grads = jax.tree.map(jnp.ones_like, params)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        assert all(bool(jnp.isfinite(u).all()) for u in jax.tree.leaves(updates))


def test_every_optimizer_is_in_the_guide():
    optimizers = {"adana", "add_log_time_decay", "ademamix", "dana", "dana_mk4", "dana_star"}
    optimizers |= {"dana_star_mk4", "log_adamw", "log_ademamix", "log_muon"}
    table = GUIDE.split("| function | what it is |")[1].split("\n\n")[0]
    first_column = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(first_column))) == optimizers
    assert optimizers <= set(ao.__all__)


@pytest.mark.parametrize("name", ["adana.optax", "adana.optax.decay", "adana.optax.log_muon"])
def test_the_examples_in_the_docstrings_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_flax_example_learns_its_text():
    pytest.importorskip("flax", reason="the example needs flax: pip install flax")
    main = runpy.run_path(str(ROOT / "examples" / "optax_flax.py"))["main"]
    losses = main(steps=80)
    assert losses[-1] < 0.5 * losses[0]
