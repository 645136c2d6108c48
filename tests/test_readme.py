"""The code in the README runs as it stands."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_loop_in_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "steps = 1_000" in code
    names: dict = {}
    exec(code.replace("steps = 1_000", "steps = 20"), names)
    assert names["loss"].isfinite()


def test_every_file_the_readme_links_to_exists():
    for target in re.findall(r"\]\(((?!http)[^)#]+)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
