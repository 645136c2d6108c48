"""What every optimizer of the family shares: arguments, state, stepping, resuming.

A subclass lists its hyperparameters (`DEFAULTS`), checks them (`check_group`), says which terms its
update has (`form`) and how the hyperparameters become the numbers of a step (`hyper`). Nothing that
changes the maths lives on the object: hyperparameters are in `param_groups`, the step counter in
each parameter's state, so that both are saved and restored.
"""

from __future__ import annotations

from typing import Any

from adana.optim.refusals import (
    refuse_other_codes,
    refuse_other_shapes,
    refuse_other_stacks,
    warn_of_other_codes,
    warn_of_other_course,
)
from adana.optim.scheduled import STATE_VERSION, as_python
from adana.optim.stepping import SteppingOptimizer
from adana.optim.storage import in_order, restored, without_tensors
from adana.optim.telemetry import Telemetry


class LogTimeOptimizer(SteppingOptimizer):
    """Base of the family.

    State of a parameter: `step` (int64, 0-d) and the tensors that `stored` names (the parameter's
    shape; float32, or float64 for float64 parameters, or as `state_dtype` says). Created at the
    parameter's first gradient.
    """

    def telemetry(self, every: int = 1) -> Telemetry:
        """Return a watch on the steps inside a `with` block: norms of g, u, m and the like.

        Steps take the same weights, to the bit. A watched step takes a little longer where it is
        fused, and about twice as long elsewhere; the others cost nothing. See docs/telemetry.md.
        Replays of a captured step (CUDA graphs) are not seen.

        Args:
            every: watch the first step and each `every`-th after it.

        Raises:
            ValueError: `every` is not an integer >= 1.
            RuntimeError: on entering it, another watch is on.

        Example:
            >>> import torch, adana
            >>> layer = torch.nn.Linear(4, 2, bias=False)
            >>> optimizer = adana.ADana(layer.named_parameters(), lr=1e-3, omega=0)
            >>> layer(torch.ones(1, 4)).sum().backward()
            >>> with optimizer.telemetry() as watch:
            ...     optimizer.step()
            >>> round(watch.read()["weight"].g, 4)
            2.8284
        """
        return Telemetry(self, every)

    # --- saving and restoring ---------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or saved optimizer, filling in hyperparameters it did not have yet."""
        super().__setstate__(state)
        for group in self.param_groups:
            version = group.get("version", 1)
            if version > STATE_VERSION:
                raise ValueError(
                    f"this state was written by a newer adana (state version {version}, this one "
                    f"reads up to {STATE_VERSION}); install that version to load it"
                )
            for name, value in self.DEFAULTS.items():
                group.setdefault(name, value)
            group["version"] = STATE_VERSION
            group["written_by"] = type(self).__name__
            group.setdefault("peak_lr_explicit", False)
            self.resolve_group(group)
            self.check_group(group)
            for p in group["params"]:
                self.check_codes(group, p)
        self.bring_states_home()  # a copy of an optimizer with offloaded states has them not

    def _refuse_other_writers(self, groups: list[dict[str, Any]]) -> None:
        """Raise where the saved groups are not of this class, of one it extends, or of ours."""
        if not all("omega" in group for group in groups):
            raise ValueError(
                f"this state dict is of another optimizer: its groups have no omega. To go on from "
                f"AdamW's state with {type(self).__name__}, use adana.load_adamw_state."
            )
        known = {cls.__name__ for cls in type(self).__mro__}
        writers = {group["written_by"] for group in groups if "written_by" in group}
        for writer in writers - known:
            raise ValueError(
                f"this state dict was written by {writer}, whose hyperparameters and averages are "
                f"not those of {type(self).__name__}. Load it into one of {writer}, or start with "
                "a fresh state."
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state dict. Once training has begun it says which peak learning rate it had.

        A scheduler built after loading would leave another one in the groups, and decay would grow:
        torch.distributed.checkpoint loads only entries that the groups have at that time.
        """
        saved = super().state_dict()
        for group in saved["param_groups"]:
            group["lr"] = as_python(group["lr"])  # whoever sets it may take it from numpy
        if saved["state"]:
            for group in saved["param_groups"]:
                group["peak_lr"] = float(self.peak(group))
                group["peak_lr_explicit"] = True
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict, keeping every state tensor in the dtype it was saved in.

        The saved hyperparameters replace the constructor's, as in `torch.optim`; so states go on in
        the codes they were saved in (`state_dtype`, `bf16_weights`). Checkpoints from before a
        hyperparameter existed get its default. Parameters are found by their names where the saved
        groups and these have the same, else by their places.

        Raises:
            ValueError: the groups do not fit, a state has another shape than its parameter, or a
                newer adana wrote them; nothing is loaded then.

        Warns:
            UserWarning: a group was built with codes other than float32, or with hyperparameters
                other than the defaults, which are not the saved ones.
        """
        final = state_dict

        def keep(_: Any, hooked: dict[str, Any]) -> dict[str, Any]:
            nonlocal final
            self._refuse_other_writers(hooked["param_groups"])
            # What the hooks registered before made of it.
            final = {**hooked, "param_groups": in_order(hooked["param_groups"], self.param_groups)}
            refuse_other_shapes(final, self.param_groups)
            refuse_other_stacks(final["param_groups"], self.param_groups)
            return final if self.host is None else without_tensors(final)

        asked = [dict(group) for group in self.param_groups]
        handle = self.register_load_state_dict_pre_hook(keep)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        warn_of_other_codes(asked, self.param_groups, self.DEFAULTS)
        warn_of_other_course(self.defaults, asked, self.param_groups, self.DEFAULTS)
        saved_ids = [i for group in final["param_groups"] for i in group["params"]]
        owners = [(p, group) for group in self.param_groups for p in group["params"]]
        for i, (p, group) in zip(saved_ids, owners, strict=True):
            # Whoever looks for a state that is not there leaves an empty one.
            if saved := final["state"].get(i):
                capturable = group["capturable"]
                parts = self.stored(group, p)
                refuse_other_codes(saved, parts)
                self.state[p] = restored(
                    saved, self.state[p], p, parts, self.home(p), capturable=capturable
                )
