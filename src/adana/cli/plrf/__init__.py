"""`adana plrf`: the theory lab, an experiment a verb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from adana.cli.plrf.alpha_tilde import PlotAlphaTilde, alpha_tilde_command
from adana.cli.plrf.clock import PlotClock, clock_command
from adana.cli.plrf.frontier import PlotFrontier, frontier_command
from adana.cli.plrf.hummingbird import PlotHummingbird, hummingbird_command
from adana.cli.plrf.instability import PlotInstability, instability_command
from adana.cli.plrf.kappa import PlotKappa, kappa_command
from adana.cli.plrf.phases import PlotPhases, phases_command
from adana.cli.plrf.risk import PlotRisk, risk_command
from adana.cli.plrf.tau import PlotTau, tau_command
from adana.cli.plrf.theorems import PlotTheorems, theorems_command

Action = (
    Annotated[PlotRisk, tyro.conf.subcommand("risk")]
    | Annotated[PlotPhases, tyro.conf.subcommand("phases")]
    | Annotated[PlotKappa, tyro.conf.subcommand("kappa")]
    | Annotated[PlotAlphaTilde, tyro.conf.subcommand("alpha-tilde")]
    | Annotated[PlotFrontier, tyro.conf.subcommand("frontier")]
    | Annotated[PlotClock, tyro.conf.subcommand("clock")]
    | Annotated[PlotInstability, tyro.conf.subcommand("instability")]
    | Annotated[PlotTau, tyro.conf.subcommand("tau")]
    | Annotated[PlotHummingbird, tyro.conf.subcommand("hummingbird")]
    | Annotated[PlotTheorems, tyro.conf.subcommand("theorems")]
)

_ACTIONS: dict[type, Callable[[Any], int]] = {
    PlotRisk: risk_command,
    PlotPhases: phases_command,
    PlotKappa: kappa_command,
    PlotAlphaTilde: alpha_tilde_command,
    PlotFrontier: frontier_command,
    PlotClock: clock_command,
    PlotInstability: instability_command,
    PlotTau: tau_command,
    PlotHummingbird: hummingbird_command,
    PlotTheorems: theorems_command,
}


@dataclass(frozen=True)
class PlrfArguments:
    """Explore the theory behind log-time schedules, a figure a verb, in seconds to minutes.

    The model is power-law random features: least squares whose features and target fall off as
    powers, alpha and beta. It is small enough to be solved and rich enough to have the exponents.
    What can be asked:
        adana plrf risk           how fast the risk falls with SGD, and with DANA
        adana plrf phases         which exponents belong to which (alpha, beta)
        adana plrf kappa          which damping is best
        adana plrf alpha-tilde    how strong the momentum should be at each horizon
        adana plrf frontier       the best size for a compute, and the risk it gets
        adana plrf clock          how many steps of SGD a step of DANA is worth
        adana plrf instability    why momentum is damped and the fresh gradient kept
        adana plrf tau            what the Star optimizers know of rare weights
        adana plrf hummingbird    to whom damping matters
        adana plrf theorems       which averages keep weights bounded

    Each writes a page that works offline, pictures and CSV to plrf/VERB. docs/plrf/ explains what
    they show.
    """

    action: Action


def plrf_command(arguments: PlrfArguments) -> int:
    """Run `adana plrf`; return the exit code."""
    return _ACTIONS[type(arguments.action)](arguments.action)
