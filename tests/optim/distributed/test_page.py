"""The code in docs/distributed.md runs as it stands."""

import re
from pathlib import Path

from .training import (
    assert_identical,
    classifier,
    my_part,
    states_of,
    train,
    weights_of,
)

PAGE = Path(__file__).parents[3] / "docs" / "distributed.md"


def follow_the_page(folder):
    build, save, load = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {"build": classifier, "folder": folder}

    def go_on(steps):
        model, optimizer = names["model"], names["optimizer"]
        train(model, optimizer, steps, **my_part(), after_step=names["schedule"].step)
        return {**weights_of(model), **states_of(model, optimizer)}

    exec(build, names)
    go_on(range(3))
    exec(save, names)
    saved = names["saved"]
    through = go_on(range(3, 6))
    exec(build, names)
    exec(load, names)
    return names["saved"].keys() == saved.keys(), through, go_on(range(3, 6))


def test_what_the_page_saves_and_loads_goes_on_to_the_bit(worlds, tmp_path):
    for same_keys, through, resumed in worlds(2).run(follow_the_page, str(tmp_path)):
        assert same_keys
        assert through["head.weight.step"] == 6
        assert_identical(resumed, through)
