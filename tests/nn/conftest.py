"""The ranks that sharded models run on."""

from tests.optim.distributed.conftest import worlds  # noqa: F401
