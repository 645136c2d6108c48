#!/bin/bash
# One training on several machines without a scheduler. Run this on every machine, the first one's
# address and the machine's number in front of the arguments of `adana train`:
#
#     examples/cluster/torchrun.sh 10.0.0.1 2 0 --heads 12 --head-dim 64 --parallel fsdp     # on the first of two
#     examples/cluster/torchrun.sh 10.0.0.1 2 1 --heads 12 --head-dim 64 --parallel fsdp     # on the second
#
# RANKS_PER_NODE (default: one for each GPU) and PORT can be set. The run directory and the cache
# (ADANA_CACHE) must be on a file system that all machines see. Stop it with Ctrl-C or kill on any
# machine (torchrun gives the ranks 30 seconds to write a checkpoint); the same commands go on, on as
# many machines as there are then. torchrun itself exits with 1 when the run was stopped: look into
# the run's status.json to tell that from a failure.
set -eu
address=$1 nodes=$2 node=$3
shift 3
exec python -m torch.distributed.run \
  --nnodes "$nodes" --node-rank "$node" --nproc-per-node "${RANKS_PER_NODE:-gpu}" \
  --master-addr "$address" --master-port "${PORT:-29400}" \
  -m adana train "$@"
