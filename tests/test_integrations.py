"""Optimizers of this package found by name in other libraries."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import adana
from adana import integrations

PAGE = Path(__file__).parents[1] / "docs" / "integrations.md"


def test_the_page_is_valid_python_and_links_to_files_that_exist():
    text = PAGE.read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(code, str(PAGE), "exec")
    for target in re.findall(r"\]\(((?!http)[^)#]+)", text):
        assert (PAGE.parent / target).exists(), target


def test_importing_the_module_imports_no_library():
    code = "import sys, adana.integrations; print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def timm_optim(monkeypatch):
    """timm's own `timm.optim`.

    Importing timm imports torchvision for its models, which may be missing or built for another
    torch. Then `timm.optim` is imported without the rest: of timm.models it uses one function,
    and only for layer-wise learning rates.
    """
    spec = importlib.util.find_spec("timm")
    if spec is None:
        pytest.skip(
            "timm is not installed (timm.optim alone needs no torchvision: pip install "
            "--no-deps --target DIR timm, then PYTHONPATH=DIR)"
        )
    before = set(sys.modules)
    try:
        module = importlib.import_module("timm.optim")
    except (ImportError, RuntimeError):
        for name in _of_timm(set(sys.modules) - before):
            del sys.modules[name]
        package, models = ModuleType("timm"), ModuleType("timm.models")
        package.__path__ = list(spec.submodule_search_locations)
        models.group_parameters = None
        monkeypatch.setitem(sys.modules, "timm", package)
        monkeypatch.setitem(sys.modules, "timm.models", models)
        module = importlib.import_module("timm.optim")
    yield module
    for name in _of_timm(set(sys.modules) - before - {"timm", "timm.models"}):
        del sys.modules[name]


def _of_timm(names):
    return [name for name in names if name.split(".")[0] in ("timm", "torchvision")]


@pytest.fixture
def model():
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))


def decay_of_matrices_and_others(optimizer):
    by_dimension = {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            by_dimension.setdefault(p.ndim == 2, set()).add(group["omega"])
    return by_dimension[True], by_dimension[False]


@pytest.mark.libraries
def test_timm_builds_it_by_name_and_converts_the_weight_decay(timm_optim, model):
    integrations.register_with_timm()
    assert timm_optim.list_optimizers("adana") == ["adana"]
    optimizer = timm_optim.create_optimizer_v2(
        model, "adana", lr=1e-2, weight_decay=0.1, total_steps=1000, kappa=0.8
    )
    assert type(optimizer) is adana.ADana
    omega = adana.schedules.weight_decay_to_omega(0.1, 1e-2, 1000)
    assert decay_of_matrices_and_others(optimizer) == ({omega}, {0.0})
    assert {group["decay_offset"] for group in optimizer.param_groups} == {100.0}
    assert {group["kappa"] for group in optimizer.param_groups} == {0.8}
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()


@pytest.mark.libraries
def test_timm_can_state_the_strength_directly(timm_optim, model):
    integrations.register_with_timm()
    create = timm_optim.create_optimizer_v2
    optimizer = create(model, "adana", lr=1e-2, weight_decay=0.1, omega=4.0)
    assert decay_of_matrices_and_others(optimizer) == ({4.0}, {0.0})
    optimizer = create(
        model, "adana", lr=1e-2, weight_decay=0.1, omega=4.0, param_group_fn=adana.param_groups
    )
    assert decay_of_matrices_and_others(optimizer) == ({4.0}, {0.0})


@pytest.mark.libraries
def test_timm_without_weight_decay_decays_nothing(timm_optim, model):
    integrations.register_with_timm()
    optimizer = timm_optim.create_optimizer_v2(model, "adana", lr=1e-2)
    assert decay_of_matrices_and_others(optimizer) == ({0.0}, {0.0})


@pytest.mark.libraries
def test_timm_passes_betas_to_an_optimizer_that_has_them(timm_optim, model):
    integrations.register_with_timm("logadamw", adana.LogAdamW)
    create = timm_optim.create_optimizer_v2
    optimizer = create(model, "logadamw", lr=1e-2, betas=(0.8, 0.9))
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.9)}
    integrations.register_with_timm()
    assert create(model, "adana", lr=1e-2, betas=(0.8, 0.9))


@pytest.mark.libraries
@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"weight_decay": 0.1}, "total_steps"), ({"omega": 4.0}, "no parameter")],
)
def test_timm_says_what_is_missing(timm_optim, model, arguments, message):
    integrations.register_with_timm()
    with pytest.raises(ValueError, match=message):
        timm_optim.create_optimizer_v2(model, "adana", lr=1e-2, **arguments)


def test_a_name_that_timm_would_not_find_is_refused():
    with pytest.raises(ValueError, match="letters and digits"):
        integrations.register_with_timm("adana_released")
