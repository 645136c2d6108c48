#!/usr/bin/env bash
# What only a GPU can show, in an order that loses least where time runs out: correctness first.
#
#   benchmarks/on_gpu.sh                    all parts
#   benchmarks/on_gpu.sh check step         some of them
#
#   check   the tests that need a GPU; a training in bfloat16, compiled, stopped and gone on with
#   step    times of optimizer steps against AdamW fused and a copy, at two sizes
#   train   the engine against a plain loop, Enoki of 6 and 12 heads in bfloat16: tokens/s and MFU
#   memory  of the loss in chunks, of states on the host, of gradients released as they are made
#
# PYTHON (python3) needs what adana needs, and pytest for check. What is printed also goes to files
# in OUT (build/on_gpu). A part that fails does not keep the next from running; the exit code is then 1.
# LIMIT (240) seconds is the most that one command may take. DEVICE=cpu TINY=1 tries this script
# where there is no GPU; its numbers mean nothing.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3} OUT=${OUT:-build/on_gpu} LIMIT=${LIMIT:-240} DEVICE=${DEVICE:-cuda}
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export ADANA_CACHE=${ADANA_CACHE:-$OUT/cache}
mkdir -p "$OUT"
failed=()

# Run a command under a name, with a limit of time, and keep what it prints.
part() {
  local name=$1
  shift
  echo "== $name: $*"
  timeout "$LIMIT" "$@" 2>&1 | tee "$OUT/$name.txt"
  [ "${PIPESTATUS[0]}" = 0 ] || failed+=("$name")
}

if [ -n "${TINY:-}" ]; then
  lists=(many-small) step=(--rounds 2 --threads 1 --only ADana)
  sizes=(1) model=(--head-dim 16 --vocab-size 300 --batch-size 2 --sequence-length 16 --rounds 2 --steps 1)
  loss=(--tokens 64 --vocab 500 --width 16) layers=(--heads 1 --layers 1 --vocab 300 --tokens 16)
  small=(--heads 1 --head-dim 16 --layers 1 --vocab-size 300 --sequence-length 16 --batch-size 2)
else
  lists=(gpt2-124m 1b) step=(--rounds 30)
  sizes=(6 12) model=(--batch-size 32 --sequence-length 2048 --rounds 7 --steps 4)
  loss=(--tokens 32768 --width 768 --chunk 2048) layers=(--tokens 1024)
  small=(--heads 4 --head-dim 64 --sequence-length 512 --batch-size 16)
fi

check() {
  part tests "$PYTHON" -m pytest -q -p no:cacheprovider tests/optim/test_on_gpu.py
  local run=("$PYTHON" -m adana train --device "$DEVICE" --precision bfloat16 --compile --steps 60
    "${small[@]}" --run "$OUT/run")
  rm -rf "$OUT/run"
  echo "== stopped: ${run[*]} --time-limit 0:00:01"
  timeout "$LIMIT" "${run[@]}" --time-limit 0:00:01 2>&1 | tee "$OUT/stopped.txt"
  [ "${PIPESTATUS[0]}" = 75 ] || failed+=(stopped)  # asked to stop, and it can go on
  part gone_on "${run[@]}"
}

step() {
  local list
  for list in "${lists[@]}"; do
    part "step_$list" "$PYTHON" benchmarks/step.py --list "$list" --device "$DEVICE" "${step[@]}" \
      --csv "$OUT/step_$list.csv"
  done
}

train() {
  local heads way
  for heads in "${sizes[@]}"; do
    for way in "" --compile; do
      # shellcheck disable=SC2086 (no word where it is empty)
      part "train_$heads$way" "$PYTHON" benchmarks/train_loop.py --heads "$heads" "${model[@]}" \
        --precision bfloat16 --device "$DEVICE" $way
    done
  done
}

memory() {
  part loss "$PYTHON" benchmarks/loss_memory.py --device "$DEVICE" --bf16 "${loss[@]}"
  part offload "$PYTHON" benchmarks/offload.py --device "$DEVICE" "${layers[@]}"
  part release "$PYTHON" benchmarks/gradient_release.py --device "$DEVICE" "${layers[@]}"
}

[ $# -gt 0 ] || set -- check step train memory
for one; do
  case $one in
    check | step | train | memory) "$one" ;;
    *)
      echo "no part is called $one; there are check, step, train and memory" >&2
      exit 2
      ;;
  esac
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed or cut off: ${failed[*]}"
  exit 1
fi
echo "all of it ran; $OUT has what was printed"
