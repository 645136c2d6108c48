"""The Triton kernels, as far as they can be tested without a GPU.

What they compute is tested through Triton's interpreter, in a process of its own. What they become
is read from the code that Triton makes for GPUs that are not here. Tests of what only a GPU shows
are in `test_on_gpu.py`.
"""

import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adana.optim.kernel import c_source, triton_launch, triton_library, triton_source
from adana.optim.kernel.recipe import Recipe, trace
from adana.optim.kernel.triton_launch import BLOCK, OPTIONS
from adana.optim.update import Form, updated
from tests.interpreter import passes_in_interpreter

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed; to test its kernels: pip install triton",
)
RECIPES = {
    "fp32": Recipe(updated, Form(), ("m", "v"), torch.float32, torch.float32),
    "bf16": Recipe(updated, Form(), ("m", "v"), torch.bfloat16, torch.bfloat16),
    "log16": Recipe(
        updated, Form(tau=True, clip=True), ("m", "v", "tau"), torch.bfloat16, torch.bfloat16,
        "log16", "stochastic",
    ),
    "fp24": Recipe(
        updated, Form(), ("m", "v"), torch.bfloat16, torch.bfloat16, "fp24", "split24"
    ),
}  # fmt: skip


@needs_triton
def test_kernels_agree_with_the_eager_update_in_the_interpreter():
    inside = Path(__file__).with_name("triton_in_interpreter.py")
    assert "skipped" not in passes_in_interpreter(inside)


def test_triton_writes_every_operation_that_c_does():
    assert set(triton_source.EXPRESSIONS) >= set(c_source.EXPRESSIONS)


def test_without_triton_the_package_says_what_to_install():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import importlib.util, torch, adana.optim.kernel.triton_launch\n"
        "importlib.util.find_spec = lambda name: None\n"
        "from adana.optim.kernel.triton_library import why_not\n"
        "print(why_not(torch.device('cuda')))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "Triton is not installed (pip install triton)", result.stderr


@needs_triton
def test_other_devices_than_cuda_have_no_triton_kernel(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "not on cpu" in triton_library.why_not(torch.device("cpu"))


def test_a_kernel_that_cannot_be_kept_is_loaded_from_elsewhere(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "file"))
    assert triton_library.loaded("adana_step = 1\n") == 1
    assert "cannot be kept" in caplog.text


def test_a_kernel_is_not_loaded_from_where_everyone_may_write(monkeypatch, tmp_path, caplog):
    text = "adana_step = __file__\n"
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path))
    assert triton_library.loaded(text).startswith(str(tmp_path))
    (tmp_path / "kernels").chmod(0o777)
    triton_library.loaded.cache_clear()
    assert not triton_library.loaded(text).startswith(str(tmp_path))
    assert "everyone may write" in caplog.text


def test_a_kernel_that_cannot_be_imported_is_reported_as_one_that_cannot_compile(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path))
    with pytest.raises(triton_library.CannotCompile, match="could not be loaded"):
        triton_library.loaded("import no_such_module_of_triton\n")


@functools.cache
def ptx(name, capability, *, aligned):
    """Return the code of a kernel for an NVIDIA GPU, and how much shared memory it takes."""
    import triton  # noqa: PLC0415
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415

    kernel = triton_library.loaded(triton_source.source(trace(RECIPES[name])))
    pointers = {"table": "*i64", "blocks": "*i32", "numbers": "*fp32", "keys": "*i32",
                "sums": "*fp32"}  # fmt: skip
    constants = {"ALIGNED": aligned, "RUNS": False, "BLOCK": BLOCK}
    made = triton.compile(
        ASTSource(
            fn=kernel,
            signature={**pointers, **dict.fromkeys(constants, "constexpr")},
            constexprs={(len(pointers) + i,): x for i, x in enumerate(constants.values())},
        ),
        target=GPUTarget("cuda", capability, 32),
        options=OPTIONS,
    )
    return made.asm["ptx"], made.metadata.shared


@needs_triton
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_aligned_tensors_are_read_and_written_in_wide_accesses(name, capability):
    text, shared = ptx(name, capability, aligned=True)
    fp32 = sum(x.dtype == torch.float32 for x in trace(RECIPES[name]).buffers)
    narrow = sum(x.dtype.itemsize == 2 for x in trace(RECIPES[name]).buffers)
    assert len(re.findall(r"ld\.global\.v4\.b32", text)) == fp32
    assert len(re.findall(r"ld\.global\.v2\.b32", text)) == narrow
    assert not re.findall(r"(?:ld|st)\.global\.b(?:8|16)\b", text)
    assert shared == 0  # no element changes its thread between being read and written


@needs_triton
def test_unaligned_tensors_are_read_element_by_element():
    text, _ = ptx("fp32", 90, aligned=False)
    assert "ld.global.b32" in text
    assert ".v4" not in text


@needs_triton
def test_products_and_sums_are_contracted_only_where_the_update_says_so():
    text, _ = ptx("fp32", 90, aligned=True)
    said = sum(s.operation == "fma" for s in trace(RECIPES["fp32"]).statements)
    elements_of_a_thread = BLOCK // (32 * OPTIONS["num_warps"])
    assert len(re.findall(r"fma\.rn\.f32", text)) == said * elements_of_a_thread


PRETENDED = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

class Properties:
    def get_device_properties(device):
        return {"max_shared_mem": 1 << 17, "multiprocessor_count": 1, "warpSize": 32,
                "max_num_regs": 1 << 16}

class Driver:
    utils = Properties
    def get_current_device(self): return 0
    def get_current_stream(self, device=None): return 0
    def get_current_target(self): return GPUTarget("cuda", 90, 32)
    def map_python_to_cpp_type(self, name): return name

driver.set_active(Driver())
from adana.optim.kernel import triton_launch
from adana.optim.kernel.recipe import row_of
from adana.optim.kernel.recipe import Recipe
from adana.optim.update import Form, Hyper, updated

launched = []
class Function:
    def __init__(self, function): self.function = function
    def run(self, *arguments, **options): launched.append(self.function.run(*arguments, **options))
    def __getitem__(self, grid): return lambda *arguments, **options: print("grid", grid[0])

recipe = Recipe(updated, Form(), ("m", "v"), torch.float32, torch.float32)
step = triton_launch.kernel(recipe)
step = step._replace(function=Function(step.function))
room = [torch.zeros(4097) for _ in range(4)]
for _ in range(2):
    rows = [row_of(tuple(x[a:] for x in room)) for a in (0, 1)]
    triton_launch.launch(step, rows, torch.zeros(1, len(Hyper._fields)), torch.device("cpu"))
for kernel in launched:
    print("wide" if ".v4" in kernel.asm["ptx"] else "narrow", *kernel.src.signature.values())
"""


@needs_triton
def test_a_launch_compiles_each_way_once_and_for_pointers_of_any_alignment(tmp_path):
    environment = {**os.environ, "ADANA_CACHE": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", PRETENDED]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    signature = "*i64 *i32 *fp32 *fp32 *fp32 constexpr constexpr constexpr"
    grids = ["grid 4", "grid 5"] * 2  # 4 whole blocks of the aligned tensor; its end and the other
    expected = [*grids, f"wide {signature}", f"narrow {signature}"]
    assert result.stdout.splitlines() == expected, result.stderr


def test_what_triton_cannot_compile_is_not_tried_at_every_step():
    calls = []

    class Function:
        def run(self, *arguments, **options):
            calls.append(options)
            raise ValueError("no such instruction")

    step = triton_launch.Kernel(Function(), (), keyed=False)
    for _ in range(2):
        with pytest.raises(triton_library.CannotCompile, match="no such instruction"):
            triton_launch._compile(step, torch.device("cpu"), (), {"ALIGNED": True})
    assert len(calls) == 1
