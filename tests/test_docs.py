"""The documentation holds: examples run, links lead somewhere, numbers are those of the code."""

import ast
import doctest
import importlib
import io
import pkgutil
import re
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import adana
from adana.optim import ABLATIONS, AblatedADana
from adana.optim.log_muon import orthogonal

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            page
            for folder in ("docs", "examples", "benchmarks")
            for page in ROOT.glob(f"{folder}/**/*.md")
        ),
    ]
)


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


# --- examples -------------------------------------------------------------------------------------


def code_alone(text):
    """Return a page with all but its fenced code blanked: the lines keep their numbers."""
    inside, kept = False, []
    for line in text.splitlines():
        fence = line.startswith("```")
        kept.append(line if inside and not fence else "")
        inside ^= fence
    return "\n".join(kept) + "\n"


WITH_EXAMPLES = [page for page in PAGES if ">>> " in page.read_text()]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=names(WITH_EXAMPLES))
def test_the_examples_of_a_page_run(page):
    source = code_alone(page.read_text())
    examples = doctest.DocTestParser().get_doctest(source, {}, page.name, str(page), 0)
    run(examples)


def modules():
    found = pkgutil.walk_packages(adana.__path__, "adana.")
    for name in ("adana", *(module.name for module in found)):
        if name.startswith(("adana.hf", "adana.optax")):
            yield pytest.param(name, marks=pytest.mark.libraries)
        elif not name.endswith("__main__"):
            yield name


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_in_docstrings_run(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").startswith("adana"):
            raise
        pytest.skip(f"needs {error.name}, which is not installed")
    for examples in doctest.DocTestFinder(exclude_empty=True).find(module):
        run(examples)


def run(examples):
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(examples, out=said.write)
    assert runner.failures == 0, said.getvalue()


# --- links ----------------------------------------------------------------------------------------


def headings(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_relative_link_resolves(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in headings(there), f"{page.name}: {target} has no such heading"


# --- the pages of the optimizers ------------------------------------------------------------------

PAGE_OF = {
    adana.ADana: "adana.md",
    adana.DanaMK4: "dana-mk4.md",
    adana.DanaStar: "dana-star.md",
    adana.DanaStarMK4: "dana-star-mk4.md",
    adana.LogAdamW: "log-adamw.md",
    adana.AdEMAMix: "ademamix.md",
    adana.LogAdEMAMix: "ademamix.md",
    adana.LogMuon: "log-muon.md",
    adana.Dana: "dana.md",
    AblatedADana: "ablations.md",
}


def page_of(cls):
    return (DOCS / "optimizers" / PAGE_OF[cls]).read_text()


def test_every_public_optimizer_has_a_page_that_the_index_lists():
    public = {x for name in adana.__all__ if isinstance(x := getattr(adana, name), type)}
    assert public <= set(PAGE_OF)
    index = (DOCS / "optimizers" / "index.md").read_text()
    for page in (DOCS / "optimizers").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index
        assert page.name == "index.md" or ">>> " in page.read_text(), f"{page.name} has no example"
    for name in adana.__all__:
        if not name.startswith("__") and name not in ("integrations", "schedules"):
            assert name in index, f"the index does not mention {name}"


def first_cells(text):
    """Return {name: default} of the hyperparameter tables of a page."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", text, re.MULTILINE))


@pytest.mark.parametrize("cls", PAGE_OF, ids=lambda cls: cls.__name__)
def test_a_page_explains_every_hyperparameter_with_its_default(cls):
    shared = adana.ADana.DEFAULTS if cls is not adana.ADana else {"version": None}
    shown = first_cells(page_of(cls))
    missing = set(cls.DEFAULTS) - set(shared) - set(shown)
    assert not missing, f"{PAGE_OF[cls]} does not explain {', '.join(sorted(missing))}"
    for name, text in shown.items():
        try:
            value = ast.literal_eval(text.strip("`"))
        except (ValueError, SyntaxError):
            continue  # in words
        if name in cls.DEFAULTS:
            assert cls.DEFAULTS[name] == value, f"{PAGE_OF[cls]}: {name}"


@pytest.mark.parametrize("cls", PAGE_OF, ids=lambda cls: cls.__name__)
def test_where_a_shared_default_differs_the_page_says_so(cls):
    shown = first_cells(page_of(cls))
    for name, value in adana.ADana.DEFAULTS.items():
        resolved_late = name in ("decay_order", "extra_momentum")
        if name in cls.DEFAULTS and cls.DEFAULTS[name] != value and not resolved_late:
            assert name in shown, f"{PAGE_OF[cls]} does not give the default of {name}"


def test_the_page_of_the_ablations_lists_all_of_them():
    assert set(re.findall(r"^\| `([\w-]+)` \| ", page_of(AblatedADana), re.MULTILINE)) >= set(
        ABLATIONS
    )


# --- costs ----------------------------------------------------------------------------------------

OPERATIONS = {"lerp": 3, "addcmul": 3, "addcdiv": 3, "copy": 0}
"""Arithmetic operations of a kernel on one element; one if not here, or two with a factor."""


class Counter(TorchDispatchMode):
    """Counts the passes over lists of tensors, and their arithmetic on one element."""

    def __init__(self):
        super().__init__()
        self.passes = self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, function.overloadpacket.__name__
        whole = any(isinstance(x, torch.Tensor) and x.ndim for x in tree_leaves((args, kwargs)))
        if whole and name.startswith("_foreach_"):
            name = name.removeprefix("_foreach_").removesuffix("_")
            scaled = kwargs.get("alpha", 1) != 1
            self.passes += 1
            self.operations += OPERATIONS.get(name, 1) + scaled
        return function(*args, **kwargs)


def cost(make):
    """Return passes, operations an element, and bytes of state an element, of one step."""
    params = [torch.nn.Parameter(torch.ones(10)), torch.nn.Parameter(torch.ones(7))]
    optimizer = make(params)
    for counter in (Counter(), counter_of_interest := Counter()):
        for p in params:
            p.grad = torch.ones_like(p)
        with counter:
            optimizer.step()
    tensors = [x for state in optimizer.state.values() for x in state.values()]
    floats = [x for x in tensors if isinstance(x, torch.Tensor) and x.ndim]
    size = sum(x.numel() * x.element_size() for x in floats) // sum(p.numel() for p in params)
    return counter_of_interest.passes, counter_of_interest.operations, size


SETTINGS = {"lr": 1e-3, "total_steps": 1000, "foreach": True}
COSTS = {
    "torch.optim.AdamW": lambda ps: torch.optim.AdamW(ps, lr=1e-3, foreach=True),
    "LogMuon": lambda ps: adana.LogMuon(ps, muon=False, **SETTINGS),
    **{
        name: lambda ps, name=name: getattr(adana, name)(ps, **SETTINGS)
        for name in (
            *("ADana", "DanaMK4", "DanaStar", "DanaStarMK4", "LogAdamW", "AdEMAMix"),
            *("LogAdEMAMix", "Dana"),
        )
    },
}


def test_the_table_of_costs_is_what_a_step_does():
    """If this fails after a change of update.py, count again: the table shows the new numbers."""
    index = (DOCS / "optimizers" / "index.md").read_text()
    row = re.compile(r"^\| `([\w.]+)`[^|]*\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", re.MULTILINE)
    shown = {name: tuple(map(int, numbers)) for name, *numbers in row.findall(index)}
    counted = {}
    for name, make in COSTS.items():
        passes, operations, state = cost(make)
        counted[name] = (state, passes, operations, 12 + 2 * state)
    assert shown == counted
    for cls in PAGE_OF:
        if cls.__name__ in counted:
            _, passes, operations, _ = counted[cls.__name__]
            assert f"{passes} passes and {operations} operations" in page_of(cls), cls.__name__


def test_an_orthogonalised_step_costs_what_its_page_says():
    rows, columns = 8, 32
    with FlopCounterMode(display=False) as counter:
        orthogonal(torch.randn(rows, columns), steps=5)
    assert counter.get_total_flops() == 5 * (4 * rows**2 * columns + 2 * rows**3)
