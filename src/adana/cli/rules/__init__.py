"""`adana rules`: fit rules for learning rates to finished runs, and show what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from adana.cli.rules.fit import FitRules, fit_rules_command
from adana.cli.rules.show import ShowRules, show_rules_command

Action = (
    Annotated[FitRules, tyro.conf.subcommand("fit")]
    | Annotated[ShowRules, tyro.conf.subcommand("show")]
)

_ACTIONS: dict[type, Callable[[Any], int]] = {
    FitRules: fit_rules_command,
    ShowRules: show_rules_command,
}


@dataclass(frozen=True)
class RulesArguments:
    """Fit rules for learning rates to your own runs, and use them where laws are missing.

    Train each optimizer at several sizes, with several learning rates each, then:
        adana rules fit runs/ --output rules.json
        adana rules show rules.json --heads 6 8 12
        adana train --optimizer adana --rules rules.json ...

    So do `adana compare` and `adana ladder plan`, with --rules. docs/rules.md explains what is
    fitted, and when to believe it.
    """

    action: Action


def rules_command(arguments: RulesArguments) -> int:
    """Run `adana rules`; return the exit code."""
    return _ACTIONS[type(arguments.action)](arguments.action)
