"""Rule files: JSON that says everything about where its numbers come from.

`adana rules fit` writes one; `--rules FILE` of `train`, `compare` and `ladder plan` reads it.
Nothing in it is ever evaluated as code: a form is a name, and every key is checked.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

from adana import __version__
from adana.ladder.rules import RANGES, Rule, RuleBook
from adana.ladder.tuned import TUNABLE
from adana.laws.rule_forms import FORMS
from adana.runs import read_json, write_json

FORMAT = "adana rules"
"""What the key `format` of a rule file says."""
RULES_VERSION = 1
"""Version of the file format; raised when a key changes its meaning."""
_KINDS: dict[str, tuple[Any, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "float | None": ((int, float, NoneType), "a number or null"),
    "dict": (dict, "a JSON object"),
    "list": (list, "a JSON array"),
}
"""What JSON must hold for a field of `Rule`, by its annotation."""


def open_rules(paths: Sequence[Path]) -> RuleBook:
    """Read several rule files.

    Raises:
        RunError: a file is missing or no JSON.
        ValueError: a file is no rule file of this version, or two rules contradict each other.
    """
    return RuleBook([(str(path), rule) for path in paths for rule in read_rules(path)])


def write_rules(path: Path | str, rules: Sequence[Rule]) -> None:
    """Write rules to a file.

    Raises:
        RunError: the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": RULES_VERSION,
        "adana": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "rules": [dataclasses.asdict(rule) for rule in rules],
    }
    write_json(Path(path), content)


def read_rules(path: Path | str) -> list[Rule]:
    """Read the rules of a file.

    Raises:
        RunError: the file is missing or no JSON.
        ValueError: it is no rule file, of another version, or a key is missing, unknown or wrong.
    """
    content = read_json(Path(path))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no rule file; `adana rules fit RUNS --output FILE` writes one")
    if content.get("version") != RULES_VERSION:
        raise ValueError(
            f"{path} has format version {content.get('version')!r}, this adana reads version "
            f"{RULES_VERSION}; it was written by adana {content.get('adana', '?')}"
        )
    rules = content.get("rules")
    if not isinstance(rules, list) or not rules:
        raise ValueError(f"{path} has no rules; fit them again (adana rules fit)")
    return [_rule_from(each, f"{path}, rule {i}") for i, each in enumerate(rules, start=1)]


def _rule_from(content: Any, where: str) -> Rule:
    names = {field.name: field for field in dataclasses.fields(Rule)}
    if not isinstance(content, dict):
        raise ValueError(f"{where} is not a JSON object; fit it again (adana rules fit)")
    for problem, keys in (
        ("lacks", sorted(names.keys() - content.keys())),
        ("has unknown keys", sorted(content.keys() - names.keys())),
    ):
        if keys:
            raise ValueError(f"{where} {problem} {', '.join(keys)}; fit it again (adana rules fit)")
    rule = Rule(**content)
    wrong = next(_problems(rule), None)
    if wrong:
        raise ValueError(f"{where}: {wrong}; fit it again (adana rules fit)")
    return rule


def _problems(rule: Rule) -> Iterator[str]:
    """Say what is wrong with a rule. Only the first is sure: the rest may follow from it."""
    for field in dataclasses.fields(Rule):
        kinds, said = _KINDS.get(str(field.type).split("[", maxsplit=1)[0], (object, ""))
        value = getattr(rule, field.name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            yield f"{field.name} must be {said}, got {value!r}"
    if rule.form not in FORMS:
        yield f"unknown form {rule.form!r}, expected one of {', '.join(FORMS)}"
        return
    if rule.hyperparameter not in TUNABLE:
        yield f"hyperparameter {rule.hyperparameter!r}, expected one of {', '.join(TUNABLE)}"
    if not _numbers(rule.values, FORMS[rule.form].parameters):
        expected = ", ".join(FORMS[rule.form].parameters)
        yield f"values must be finite numbers {expected}, got {rule.values!r}"
    elif rule.values["a"] <= 0 or min(rule.values.get("b", 0), rule.values.get("c", 0)) < 0:
        yield f"a must be positive, b and c not negative, got {rule.values!r}"
    if not isinstance(rule.fitted, dict) or set(rule.fitted) != set(RANGES):
        yield f"fitted must give the ranges of {', '.join(RANGES)}"
    elif not all(
        isinstance(r, list) and _numbers(dict(enumerate(r)), (0, 1)) for r in rule.fitted.values()
    ):
        yield f"fitted must give two numbers each, got {rule.fitted!r}"


def _numbers(values: Any, keys: Sequence[Any]) -> bool:
    return (
        isinstance(values, Mapping)
        and set(values) == set(keys)
        and all(
            isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
            for x in values.values()
        )
    )
