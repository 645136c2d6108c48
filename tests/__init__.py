"""Tests of adana. Each worker of `pytest -n` computes with one thread, as do processes it starts."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, which conftest.py does
