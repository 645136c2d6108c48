"""What is slow to import is imported when it is used; what is unsafe is not used at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest


def imported(statement):
    """Return the names of the modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_alone_imports_nothing_heavy():
    assert not {"torch", "numpy", "scipy"} & imported("import adana")


def test_the_optimizers_need_torch_but_neither_its_compiler_nor_sharded_tensors():
    modules = imported("import adana; adana.ADana")
    assert "torch" in modules
    heavy = {"torch._dynamo", "torch.distributed.tensor", "sympy", "scipy", "altair", "tyro"}
    assert not heavy & modules


def test_names_of_the_package_are_listed_and_others_refused():
    import adana  # noqa: PLC0415

    assert set(adana.__all__) <= set(dir(adana))
    with pytest.raises(AttributeError, match="no attribute 'Adana'"):
        adana.Adana  # noqa: B018


WITHOUT_EXTRAS = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jax", "optax", "transformers", "timm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import adana
assert not {"optax", "hf"} & set(adana.__all__)
from adana import *
for ask in (lambda: adana.optax, lambda: adana.hf, adana.integrations.register_with_timm):
    try:
        ask()
    except ImportError as error:
        print(error)
"""


def test_what_needs_an_extra_says_which():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS], capture_output=True, text=True, check=True
    )
    jax, transformers, timm = done.stdout.splitlines()
    assert jax.endswith('pip install "adana[jax]"')
    assert transformers.endswith('pip install "adana[hf]"')
    assert timm.endswith("pip install timm")


@pytest.mark.libraries
@pytest.mark.parametrize(("name", "member"), [("optax", "adana"), ("hf", "AdanaForCausalLM")])
def test_the_subpackages_of_other_libraries_are_attributes(name, member):
    pytest.importorskip({"optax": "optax", "hf": "transformers"}[name])
    code = f"import adana; print('{name}' in dir(adana), adana.{name}.{member}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", member]


def test_the_list_of_verbs_and_the_verbs_of_runs_do_without_torch():
    assert "torch" not in imported("import adana.cli")
    assert not {"torch", "adana.train"} & imported("import adana.cli.manage, adana.cli.report")


def test_what_a_verb_needs_for_one_step_of_its_work_is_not_imported_for_its_help():
    verbs = "compare, ladder, report, train, tune"
    modules = imported(f"from adana.cli import {verbs}")
    assert "torch" in modules
    later = {"altair", "sympy", "scipy.optimize", "scipy.special", "torch.distributed.tensor"}
    assert not later & modules


POSIX = ("fcntl", "resource", "termios", "pwd", "grp")


def test_what_is_no_command_works_without_the_modules_of_posix():
    code = f"""
import sys
sys.modules.update(dict.fromkeys({POSIX}))
import adana.optim, adana.schedules, adana.laws, adana.plrf
import adana, torch
p = torch.nn.Parameter(torch.ones(3))
p.grad = torch.ones(3)
adana.ADana([p], lr=0.1, total_steps=1000).step()
assert (p < 1).all()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


HOME = Path(__file__).parents[1]
AMONG_OURSELVES = {"tune", "train/world.py"}
"""Where what a process of the same command has sent is unpickled, never a file."""


@pytest.mark.parametrize("folder", ["src", "examples", "benchmarks"])
def test_nothing_unpickles_a_file(folder):
    seen = 0
    for path in sorted((HOME / folder).rglob("*.py")):
        received = any(f"/adana/{place}" in path.as_posix() for place in AMONG_OURSELVES)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                seen += 1
                flags = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert safe(ast.unparse(node.func), flags, received), f"{path}:{node.lineno}"
    assert seen > 100


def safe(function, flags, received):
    if function == "torch.load":
        return flags.get("weights_only") == "True"
    return function not in {"pickle.load", "eval", "exec"} and (
        function != "pickle.loads" or received
    )
