#!/usr/bin/env bash
# Train on a machine with a GPU, started in the repository's root; README.md says what .sharper must have beforehand.
#     bash tools/builtin_model/gpu.sh vae OUT     the first of two calls of at most five minutes: the VAE, also into OUT
#     bash tools/builtin_model/gpu.sh rest OUT    the second, on the same machine: everything else, the model into OUT
#     bash tools/builtin_model/gpu.sh all OUT     both in one call of at most ten minutes
# What is in OUT: log.txt, vae.trained.safetensors in float16, and model.safetensors in parts of 15 MiB, to be joined
# by cat. MINUTES is the time of each call without its start.
set -euo pipefail
call=$1 out=$2 carried=$PWD/.sharper work=${WORK:-/tmp/sharper} minutes=${MINUTES:-4.2}
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 PYTHONPATH=$PWD/src:/tmp/site
[ -d /tmp/site ] || python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site "$carried"/*.whl
mkdir -p "$work" "$out"

train_until() {
    python3 -m tools.builtin_model.train_all --work "$work" --device "${DEVICE:-cuda}" \
        --drawings "$carried/drawings.webp" --budget-minutes 9 --vae-minutes "$minutes" \
        --text-minutes "$(python3 -c "print($minutes / 6)")" --diffusion-minutes "$(python3 -c "print($minutes * 0.66)")" \
        --until "$@" 2>&1 | tee -a "$out/log.txt"
}

if [ "$call" != rest ]; then
    train_until vae
    python3 tools/builtin_model/half.py "$work/vae.checkpoint.pt" "$out/vae.trained.safetensors"
elif [ ! -f "$work/vae.trained.safetensors" ]; then
    echo "the first call's files are not in $work: this is another machine; use 'all'" >&2
    exit 1
fi
if [ "$call" != vae ]; then
    train_until pack --out "$out"
fi
