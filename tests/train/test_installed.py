"""Optimizers that other packages bring: found, trained with, resumed, told apart, refused."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
import torch

from adana.ladder import plan_run, training_space, with_hyperparameters
from adana.ladder.tuned import run_settings
from adana.runs import Run, RunError
from adana.train import (
    HYPERPARAMETERS,
    OptimizerConfig,
    OptimizerEntry,
    ScheduleConfig,
    build_optimizer,
    config_from_dict,
    config_to_dict,
    find_branch,
    optimizer_entry,
    optimizer_names,
    plant,
    refuse_unread,
    train,
)

from .results import assert_same_end, final_state
from .test_loop import interrupted_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_optimizer"

SIGN = """
import torch
import adana
from adana.train import OptimizerEntry, coupled_decay

class Sign(torch.optim.Optimizer):
    def __init__(self, params, lr, beta, weight_decay):
        super().__init__(params, {"lr": lr, "beta": beta, "weight_decay": weight_decay, "k": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] += 1
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["moments"] = {"first": torch.zeros_like(p), "list": [torch.zeros_like(p)]}
                    state["seen"] = 0
                state["seen"] += 1
                m, rest = state["moments"]["first"], state["moments"]["list"][0]
                m.lerp_(p.grad, 1 - group["beta"])
                rest.add_(p.grad)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_((m + rest / group["k"] / state["seen"]).sign(), alpha=-group["lr"])

def build(model, config, steps):
    decay = coupled_decay(config, steps)
    return Sign(adana.param_groups(model), config.lr, config.beta1, decay)

sign = OptimizerEntry(build, "the sign of an average", reads=("beta1",), defaults={"beta1": 0.8})
not_one = "sign"
"""


@pytest.fixture
def sign(packages):
    packages.install("signs", {"signs/__init__.py": SIGN}, {"sign": "signs:sign"})
    return packages


def with_sign(config, **changes):
    return dataclasses.replace(config, optimizer=OptimizerConfig("sign", lr=1e-3, **changes))


def test_it_is_known_by_name_and_trains(sign, config, shards, tmp_path):
    assert optimizer_names()[-1] == "sign"
    run = Run(tmp_path / "run")
    outcome = train(with_sign(config), shards, run)
    assert outcome.summary["val_loss"] < next(iter(run.metrics()))["val_loss"]
    assert run.environment()["optimizer_package"] == "signs 1.0"
    row = next(row for row in run.metrics() if "train_loss" in row)
    assert row["schedule"]["decay"] > 0


def test_counters_beside_its_tensors_survive_a_resume(sign, config, shards, tmp_path, monkeypatch):
    config = with_sign(config)
    whole = Run(tmp_path / "whole")
    train(config, shards, whole)
    cut = interrupted_run(config, shards, tmp_path / "cut", monkeypatch, 7)
    assert train(config, shards, cut).state == "finished"
    assert_same_end(whole, cut)


def test_random_numbers_are_those_of_the_seed_and_survive_a_resume(
    packages, config, shards, tmp_path, monkeypatch
):
    text = SIGN.replace("p.add_((m", "p.add_((torch.rand_like(m) * m")
    packages.install("signs", {"signs/__init__.py": text}, {"sign": "signs:sign"})
    whole, other = Run(tmp_path / "whole"), Run(tmp_path / "other")
    torch.rand(3)  # whatever was drawn before
    train(with_sign(config), shards, whole)
    cut = interrupted_run(with_sign(config), shards, tmp_path / "cut", monkeypatch, 7)
    torch.rand(3)
    train(with_sign(config), shards, cut)
    assert_same_end(whole, cut)
    train(dataclasses.replace(with_sign(config), seed=1), shards, other)
    drawn = [final_state(each)["tensors"]["optimizer.random.cpu"] for each in (whole, other)]
    assert not drawn[0].equal(drawn[1])


def test_a_state_that_no_checkpoint_can_hold_is_named(packages, config, shards, tmp_path):
    text = SIGN.replace('state["seen"] = 0', 'state["seen"] = 0; state["set"] = {1}')
    packages.install("signs", {"signs/__init__.py": text}, {"sign": "signs:sign"})
    run = Run(tmp_path / "run")
    with pytest.raises(RunError, match=r"Sign keeps a builtins\.set in .*weight\.set\. A checkp"):
        train(with_sign(config), shards, run)
    assert run.status()["step"] == 0  # at once, and not at the first checkpoint


def test_changed_code_is_another_run_and_not_taken_for_the_old_one(sign, config):
    config = with_sign(config)
    before = config_to_dict(config, "data")
    assert config_from_dict(before).optimizer.code == before["optimizer"]["code"]
    files = {"signs/__init__.py": SIGN, "signs/more.py": "x = 1\n"}
    sign.install("signs", files, {"sign": "signs:sign"})
    after = config_to_dict(config, "data")
    assert plan_run(config_from_dict(before), Path(), "").path != plan_run(config, Path(), "").path
    assert before["optimizer"].pop("code") != after["optimizer"].pop("code")
    assert before == after
    old = dataclasses.replace(config.optimizer, code="0123456789ab")
    with pytest.raises(ValueError, match=r"then 0123456789ab, now, of signs 1\.0, \w{12}"):
        build_optimizer(torch.nn.Linear(2, 2), old, 100)


def test_what_is_no_code_is_the_same_run(sign, config):
    before = config_to_dict(with_sign(config), "data")
    files = {"signs/__init__.py": SIGN, "signs/notes.txt": "x"}
    sign.install("signs", files, {"sign": "signs:sign"})
    assert config_to_dict(with_sign(config), "data") == before


def test_a_run_is_read_where_its_optimizer_is_not_installed(sign, config):
    content = config_to_dict(with_sign(config, beta1=0.5), "data")
    sign.install("signs", {}, {})
    read = config_from_dict(content)
    assert config_to_dict(read, "data") == content
    with pytest.raises(ValueError, match=r"'sign' .* is of a package that is not installed"):
        build_optimizer(torch.nn.Linear(2, 2), read.optimizer, 100)
    assert run_settings(read)["beta1"] == 0.5  # rules are fitted to the runs all the same


def test_the_fingerprint_is_that_of_the_code_that_was_imported(sign, config):
    optimizer_entry("sign")
    (sign.folder / "signs" / "__init__.py").write_text("1 / 0\n")
    ours = with_sign(config).resolve().optimizer
    build_optimizer(torch.nn.Linear(2, 2), ours, 100)
    sign.forget()
    with pytest.raises(ValueError, match="has changed since"):
        build_optimizer(torch.nn.Linear(2, 2), ours, 100)


def test_a_branch_goes_on_with_its_trunk_s_optimizer(sign, config, shards, tmp_path):
    """And with what that counts: it ends as a run from the beginning."""
    layout = dataclasses.replace(config.layout, keep_every=2)
    schedule = ScheduleConfig("constant")
    trunk = Run(tmp_path / "trunk")
    train(with_sign(dataclasses.replace(config, layout=layout, schedule=schedule)), shards, trunk)
    branched, branch = find_branch(trunk, 10, 4)
    run, whole = Run(tmp_path / "branch"), Run(tmp_path / "whole")
    plant(branch, branched, run, shards.fingerprint)
    train(branched, shards, run)
    train(branched, shards, whole)
    assert_same_end(whole, run)
    sign.install("signs", {"signs/more.py": ""}, {"sign": "signs:sign"})
    with pytest.raises(ValueError, match="has changed since"):
        find_branch(trunk, 12, 4)


def test_optimizers_of_this_package_have_no_fingerprint(sign, config):
    assert "code" not in config_to_dict(config, "data")["optimizer"]


def test_it_is_tuned_in_what_it_reads_around_its_own_defaults(sign, config):
    names = [parameter.name for parameter in training_space(with_sign(config))]
    assert names == ["lr", "omega", "warmup_steps", "final", "clip", "beta1"]
    begins = {parameter.name: parameter.baseline for parameter in training_space(with_sign(config))}
    assert begins["beta1"] == 0.8
    tried = with_hyperparameters(with_sign(config), {"beta1": 0.9})
    assert tried.optimizer.beta1 == 0.9  # AdamW's default, which is not this one's
    tried = with_hyperparameters(with_sign(config), {"beta1": 0.8})
    assert tried.optimizer.beta1 is None  # the same run as one that never named it
    with pytest.raises(ValueError, match="sign is not tuned in kappa"):
        training_space(with_sign(config), ["kappa"])


def test_what_it_does_not_read_is_refused(sign):
    with pytest.raises(ValueError, match=r"beta2 0\.5 was given, but sign does not read it"):
        refuse_unread(OptimizerConfig("sign", lr=1.0, beta2=0.5), "sign")


def test_an_unknown_name_lists_it_and_says_how_to_bring_one(sign):
    with pytest.raises(ValueError, match=r"(?s)sign +of signs 1\.0\n.*docs/own-optimizer\.md"):
        optimizer_entry("nope")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sign", "signs:not_one", r"signs 1\.0 is to be an .*OptimizerEntry.* is a str"),
        ("sign", "signs:nothing", r"importing signs:nothing failed with AttributeError"),
        ("sign", "signs.none:sign", r"importing signs\.none:sign failed with ModuleNotFound"),
        ("-a", "signs:sign", r"brings an optimizer '-a', but run directories"),
        ("a/b", "signs:sign", r"brings an optimizer 'a/b', but run directories"),
        ("adamw", "signs:sign", r"signs 1\.0 brings an optimizer 'adamw', .* adana's own"),
    ],
)
def test_what_cannot_be_had_is_an_error_that_names_the_package(packages, name, value, message):
    packages.install("signs", {"signs/__init__.py": SIGN}, {name: value})
    with pytest.raises(ValueError, match=message):
        optimizer_entry(name)
    assert optimizer_entry("adana")  # the others are not in its way


def test_two_packages_with_one_name_are_refused(sign):
    sign.install("others", {"others.py": SIGN}, {"sign": "others:sign"})
    with pytest.raises(ValueError, match=r"others 1\.0 and signs 1\.0 all bring .* 'sign'"):
        optimizer_entry("sign")


@pytest.mark.parametrize(
    ("line", "error", "what"),
    [
        ("m.lerp_(p.grad, 1 - group", RuntimeError, "RuntimeError: The size of tensor"),
        ("return Sign(", ValueError, "ValueError: beta1 of 0.8 is no good"),
        ("state = self.state[p]", ValueError, "JSONDecodeError: Expecting value"),
    ],
)
def test_an_error_in_its_code_names_it_and_the_place(
    line, error, what, packages, config, shards, tmp_path
):
    broken = {
        "m.lerp_(p.grad, 1 - group": "p.sub_(torch.zeros(7)); m.lerp_(p.grad, 1 - group",
        "return Sign(": "raise ValueError('beta1 of 0.8 is no good'); return Sign(",
        "state = self.state[p]": "import json; state = json.loads('no')",
    }
    text = SIGN.replace(line, broken[line])
    packages.install("signs", {"signs/__init__.py": text}, {"sign": "signs:sign"})
    number = 1 + text[: text.index(broken[line])].count("\n")
    place = re.escape(f"'sign' of signs 1.0 failed at {packages.folder / 'signs/__init__.py'}")
    with pytest.raises(error, match=f"{place}:{number} with {what}.*ADANA_DEBUG=1") as found:
        train(with_sign(config), shards, Run(tmp_path / "run"))
    assert type(found.value) is error
    if error is RuntimeError:
        assert what in Run(tmp_path / "run").status()["reason"]


def test_errors_in_optimizers_of_this_package_stay_as_they_are():
    with pytest.raises(ValueError, match=r"^kappa must"):
        build_optimizer(torch.nn.Linear(2, 2), OptimizerConfig("adana", 1e-3, kappa=7.0), 100)


def test_a_builder_that_makes_something_else_is_named(packages):
    text = SIGN.replace("return Sign(", "return (")
    packages.install("signs", {"signs.py": text}, {"sign": "signs:sign"})
    with pytest.raises(TypeError, match="builder of 'sign' returned a tuple"):
        build_optimizer(torch.nn.Linear(2, 2), OptimizerConfig("sign", lr=1e-3), 100)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("[model.weight]", "'part' was built without 1 of the model's parameters: bias. It must"),
        ("[model.weight, model.bias, model.bias]", "'part' was built with a parameter in it twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
def test_an_optimizer_of_other_parameters_than_the_model_s_is_refused(packages, groups, message):
    text = f"""
import torch
from adana.train import OptimizerEntry
part = OptimizerEntry(lambda model, config, steps: torch.optim.SGD({groups}, config.lr))
"""
    packages.install("parts", {"parts.py": text}, {"part": "parts:part"})
    with pytest.raises(ValueError, match=message):
        build_optimizer(torch.nn.Linear(2, 2), OptimizerConfig("part", lr=1e-3), 100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defaults": {"beta1": 0.9}}, "has defaults of beta1, which it does not read"),
        ({"reads": ("kappa",), "defaults": {"kappa": 0.9}}, "or which is always given"),
        ({"reads": ("beta1", "gamma")}, "reads gamma, which is none of kappa, "),
        ({"decay": "linear"}, "decays 'linear'; expected log-time, "),
    ],
)
def test_an_entry_that_says_what_does_not_exist_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        OptimizerEntry(lambda *_: None, "nothing", **changes)


def test_a_text_in_place_of_a_tuple_of_names_is_refused():
    with pytest.raises(TypeError, match="reads a tuple of names, got 'beta1'"):
        OptimizerEntry(lambda *_: None, reads="beta1")


def example_optimizers() -> dict[str, str]:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    return project["entry-points"]["adana.optimizers"]


@pytest.mark.parametrize("name", example_optimizers())
def test_the_example_trains_and_resumes(name, packages, config, shards, tmp_path, monkeypatch):
    text = (EXAMPLE / "muon_parts.py").read_text()
    packages.install("muon-parts", {"muon_parts.py": text}, example_optimizers())
    config = dataclasses.replace(config, optimizer=OptimizerConfig(name, lr=8e-3))
    whole = Run(tmp_path / "whole")
    train(config, shards, whole)
    cut = interrupted_run(config, shards, tmp_path / "cut", monkeypatch, 7)
    train(config, shards, cut)
    assert_same_end(whole, cut)


def test_all_hyperparameters_can_be_tuned(packages, config):
    text = SIGN.replace('reads=("beta1",)', f"reads={HYPERPARAMETERS!r}")
    packages.install("signs", {"signs.py": text}, {"sign": "signs:sign"})
    names = {parameter.name for parameter in training_space(with_sign(config))}
    assert names > set(HYPERPARAMETERS)
    assert all(re.fullmatch(r"\w+", name) for name in names)
