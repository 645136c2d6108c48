"""Tests of Triton kernels without a GPU: in Triton's interpreter, in a process of their own."""

import os
import subprocess
import sys


def passes_in_interpreter(file):
    """Run the tests in `file`, which must pass; return what pytest printed.

    Triton decides when it is imported whether it interprets, hence the process.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(file)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
