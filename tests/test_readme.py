"""The code in the README runs as it stands."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_loop_in_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "range(1000)" in code
    names: dict = {}
    exec(code.replace("range(1000)", "range(20)"), names)
    optimizer = names["optimizer"]
    assert {int(state["step"]) for state in optimizer.state.values()} == {20}
    assert names["logits"].isfinite().all()
