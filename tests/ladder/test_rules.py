"""Rules in files: what is written comes back, what is wrong is named, what is far is said."""

import dataclasses
import json
import math

import pytest

from adana.ladder import (
    Hardware,
    RuleBook,
    find_device,
    open_rules,
    plan_rung,
    plan_to_dict,
    plan_trainings,
    read_rules,
    read_tuned,
    rule_of,
    write_rules,
)
from adana.laws.rules import Optimum, compare_rules
from adana.nn import EnokiConfig, Qwen3Config
from adana.runs import RunError
from adana.train import OptimizerConfig, TrainConfig

from .tuned_runs import best_lr, bowl_runs, tuned_config


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    sizes, _ = read_tuned(bowl_runs(tmp_path_factory.mktemp("runs")))
    optima = [Optimum(size.scale, size.bowl.lr) for size in sizes]
    fits = compare_rules(optima, bootstrap=20)
    return rule_of(sizes, "lr", fits[0], fits)


@pytest.fixture
def file(rule, tmp_path):
    write_rules(tmp_path / "rules.json", [rule])
    return tmp_path / "rules.json"


def test_the_rule_behind_the_runs_is_found_with_its_provenance(rule):
    assert rule.form == "width"
    assert rule.values["a"] == pytest.approx(0.5)
    assert rule.fitted["width"] == [32, 192]
    assert rule.tokens_per_step == [512]
    assert rule.settings["omega"] == 4.0
    assert (rule.sizes, len(rule.runs)) == (4, 40)
    assert rule.holdout == pytest.approx(0, abs=1e-6)
    assert set(rule.compared) >= {"width", "power", "constant"}


def test_a_rule_file_comes_back_as_it_was_written(rule, file):
    assert read_rules(file) == [rule]
    content = json.loads(file.read_text())
    assert (content["format"], content["version"]) == ("adana rules", 1)
    assert {"adana", "written"} <= set(content)


def test_where_it_was_fitted_a_rule_has_no_reservation(file):
    ruled = open_rules([file]).give("lr", tuned_config(heads=4))
    assert ruled.value == pytest.approx(best_lr(4))
    assert ruled.reservations == ()
    assert f"rule a / width with a = 0.5 ({file}; 40 runs at 4 sizes" in ruled.source
    assert "sweep-lr" not in ruled.source


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 16}, "fitted at 512 tokens a step, this run has 1024"),
        ({"steps": 100_000}, "extrapolated from D/N of"),
        ({"clip": 1.0}, "fitted at clip 0.5, this run has 1"),
        ({"optimizer": OptimizerConfig("adamw", 1.0, omega=8)}, "omega 4, this run has 8"),
        ({"model": EnokiConfig(heads=12)}, "extrapolated from P of"),
        ({"model": Qwen3Config(heads=4)}, "fitted to Enoki, this run is Qwen3"),
    ],
)
def test_what_differs_from_the_fitted_runs_is_said(file, change, words):
    config = dataclasses.replace(tuned_config(heads=4), **change)
    ruled = open_rules([file]).give("lr", config)
    assert any(words in reservation for reservation in ruled.reservations)
    assert words in ruled.source
    assert "--sweep-lr" in ruled.source


def test_a_rule_for_another_optimizer_or_hyperparameter_is_not_borrowed(file):
    book = open_rules([file])
    assert book.give("lr", tuned_config("adana")) is None
    assert book.give("omega", tuned_config()) is None
    book.check_used(["adamw", "adana"])
    with pytest.raises(ValueError, match="has rules for adamw, none for adana"):
        book.check_used(["adana"])


def test_no_rules_give_nothing_and_complain_of_nothing():
    book = open_rules([])
    book.check_used(["adamw"])
    assert book.give("lr", tuned_config()) is None


def test_two_rules_for_the_same_thing_are_refused(file):
    with pytest.raises(ValueError, match="two rules give lr of adamw in enoki"):
        open_rules([file, file])


def test_a_rule_of_the_same_family_comes_first(rule):
    other = dataclasses.replace(rule, family="qwen3", values={"a": 9.0})
    book = RuleBook([("other", other), ("own", rule)])
    assert book.give("lr", tuned_config()).value == pytest.approx(best_lr(2))


def test_a_rule_without_a_number_for_a_training_is_an_error(rule):
    endless = dataclasses.replace(rule, form="power", values={"a": 1.0, "d": 1e6})
    with pytest.raises(ValueError, match=r"gives lr = .*pass one"):
        endless.give(tuned_config(), "here")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(format="else"), "no rule file"),
        (lambda c: c.update(version=99), "format version 99, this adana reads version 1"),
        (lambda c: c.update(rules=[]), "has no rules"),
        (lambda c: c["rules"].append(3), "rule 2 is not a JSON object"),
        (lambda c: c["rules"][0].pop("form"), "rule 1 lacks form"),
        (lambda c: c["rules"][0].update(more=1), "unknown keys more"),
        (lambda c: c["rules"][0].update(form="__import__"), "unknown form '__import__'"),
        (lambda c: c["rules"][0].update(hyperparameter="beta1"), "'beta1', expected one of lr"),
        (lambda c: c["rules"][0].update(values={}), "values must be finite numbers a"),
        (lambda c: c["rules"][0].update(values={"a": "1"}), "values must be finite"),
        (lambda c: c["rules"][0].update(values={"a": -1}), "a must be positive"),
        (lambda c: c["rules"][0].update(fitted={}), "fitted must give the ranges"),
        (lambda c: c["rules"][0].update(settings=[]), "settings must be a JSON object"),
        (lambda c: c["rules"][0].update(runs="none"), "runs must be a JSON array"),
        (lambda c: c["rules"][0].update(holdout="big"), "holdout must be a number or null"),
        (lambda c: c["rules"][0].update(family=None), "family must be text"),
    ],
)
def test_a_broken_rule_file_is_named_with_what_is_wrong(file, change, words):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as error:
        read_rules(file)
    assert str(file) in str(error.value)


def test_a_missing_file_and_one_that_is_no_json_are_named(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        read_rules(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("lr = 3")
    with pytest.raises(RunError, match="cannot be read as JSON"):
        read_rules(tmp_path / "text.json")


def test_a_plan_takes_its_rates_from_rules_and_a_given_one_beats_them(rule):
    rungs = [plan_rung("enoki", 6)]
    hardware = Hardware(find_device("h100"))
    book = RuleBook([("mine.json", rule)])
    ruled, published = plan_trainings(rungs, ("adamw", "adana"), hardware, rules=book)
    assert ruled.rate.lr == pytest.approx(0.5 / 384)
    assert ruled.rate.law is None
    assert "mine.json" in ruled.rate.origin
    assert any("extrapolated from P" in text for text in ruled.rate.reservations)
    assert published.rate.law is not None
    row = plan_to_dict([ruled], hardware)["trainings"][0]
    assert "mine.json" in row["lr_rule"]
    (given,) = plan_trainings(rungs, ("adamw",), hardware, rules=book, given={"adamw": 0.1})
    assert given.rate.lr == 0.1


def test_the_hold_out_error_stands_in_the_source(rule):
    config = TrainConfig(OptimizerConfig("adamw", 1.0), steps=100, model=EnokiConfig(heads=2))
    off = dataclasses.replace(rule, holdout=math.log(1.25))
    assert "25% off at the largest when held out" in off.give(config, "f").source
    untested = dataclasses.replace(rule, holdout=None)
    assert "untested on a larger size" in untested.give(config, "f").source
