#!/bin/sh
# What a CUDA device alone can show, in ten minutes: the tests marked gpu, then the speed of training and search.
#
#     sh benchmarks/gpu.sh                     writes gpu-results/
#     DEVICE=cpu STEPS=2 sh benchmarks/gpu.sh  a rehearsal of everything but the tests, on a machine without one
#
# Set PYTHON to another interpreter than python, OUT to another folder.  Nothing is downloaded: the corpus is the embedded one.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python} DEVICE=${DEVICE:-cuda} STEPS=${STEPS:-200} OUT=${OUT:-gpu-results}
export PYTHONPATH=.
if [ "$DEVICE" = cuda ] && ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "benchmarks/gpu.sh: this torch finds no CUDA device; DEVICE=cpu STEPS=2 rehearses it" >&2
    exit 2
fi
mkdir -p "$OUT"

# measure NAME SECONDS COMMAND...: its output into OUT/NAME.txt; what fails is named at the end and ends nothing.
failed=
measure() {
    name=$1 seconds=$2
    shift 2
    echo "== $name"
    timeout "$seconds" "$@" >"$OUT/$name.txt" 2>&1 || failed="$failed $name"
    tail -n 3 "$OUT/$name.txt"
}

if [ "$DEVICE" = cuda ]; then
    nvidia-smi >"$OUT/device.txt"
    measure tests 180 "$PYTHON" -m pytest -m gpu
fi

lstm="model.attention=global data.batching.sentences=64"
transformer="model=transformer model.num_layers=3 model.hidden_size=256 model.ffn_size=1024 model.heads=4 data.batching.tokens=4096"
for precision in fp32 auto; do
    for model in A B C local_p; do
        case $model in
        A) words=$lstm ;;
        B) words="$lstm model.attention.score=concat" ;;
        C) words=$transformer ;;
        local_p) words="model.attention=local_p data.batching.sentences=64" ;;
        esac
        # shellcheck disable=SC2086  # one word each
        measure "training-$model-$precision" 60 "$PYTHON" benchmarks/training.py --steps "$STEPS" --profiled 1 \
            device="$DEVICE" threads=1 trainer.precision="$precision" data.cache="$OUT/cache" $words
    done
done

measure run 90 "$PYTHON" -m nmt.train model.attention=global device="$DEVICE" threads=1 data.cache="$OUT/cache" \
    trainer.max_steps="$STEPS" trainer.validate_every="$STEPS" decode=greedy runs="$OUT" name=run logger.tensorboard=false
measure search 60 "$PYTHON" benchmarks/search.py "$OUT/run" --device "$DEVICE" --threads 1 \
    --batches 1,64 --beams 5 --sentences 200

[ -z "$failed" ] || { echo "failed:$failed; see $OUT"; exit 1; }
echo "everything passed; $OUT has the figures"
