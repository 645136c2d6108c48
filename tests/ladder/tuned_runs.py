"""Run directories with the losses of known bowls, as if they had been trained."""

import dataclasses
import math

from adana.ladder import plan_run
from adana.nn import EnokiConfig
from adana.runs import write_json
from adana.train import OptimizerConfig, TrainConfig, config_to_dict

ZETA = 0.02


def tuned_config(name="adamw", heads=2, lr=1e-3, seed=0, **optimizer):
    model = EnokiConfig(heads=heads, head_dim=16, vocab_size=512, sequence_length=64)
    return TrainConfig(
        OptimizerConfig(name, lr=lr, **optimizer),
        steps=200 * heads**2,
        batch_size=8,
        model=model,
        seed=seed,
    )


def pretend(root, config, loss, state="finished"):
    """Write a run directory that ended with this loss; return its run."""
    run = plan_run(config, root, "data").run
    run.create()
    write_json(run.path / "config.json", config_to_dict(config, "data"))
    if state == "finished":
        write_json(run.path / "summary.json", {"val_loss": loss})
    run.set_status(state, step=config.steps)
    return run


def best_lr(heads):
    """Return the optimum that the pretended runs have: lr x width = 0.5."""
    return 0.5 / (16 * heads)


def bowl_runs(root, name="adamw", heads=(2, 4, 8, 12), seeds=2, rates=(-2, -1, 0, 1, 2), **more):
    """Write the runs of an optimizer tuned at several sizes."""
    return [
        pretend(
            root,
            dataclasses.replace(tuned_config(name, h, lr=1e-2 * 2.0**i, seed=s, **more)),
            6 / h**0.1 + ZETA * math.log(1e-2 * 2.0**i / best_lr(h)) ** 2 + 0.001 * s,
        )
        for h in heads
        for i in _around(h, rates)
        for s in range(seeds)
    ]


def _around(heads, rates):
    centre = round(math.log2(best_lr(heads) / 1e-2))
    return [centre + i for i in rates]
