"""Tests of adana. Workers of `pytest -n` and processes that they start compute with one thread."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, which conftest.py does
