#!/usr/bin/env bash
# One run on all GPUs of several Slurm nodes: sbatch deploy/slurm.sh recipe.toml
# The checkout with its .venv, the images, the model and the runs folder must be on storage that all nodes see.
#SBATCH --job-name=tetrad
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

recipe=${1:?give a recipe}
run=${2:-}  # the folder of a run to go on with, instead of a new one
if [[ -n $run ]]; then
    task=(resume "$run")
elif ((${SLURM_RESTART_COUNT:-0} > 0)) && compgen -G 'runs/*/resume/start.json' >/dev/null; then
    task=(resume)  # put back into the queue: with the newest unfinished run
else
    task=(train --recipe "$recipe")
fi
head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# Two minutes before the end Slurm tells the steps to stop; process 0 finishes its update and saves.
trap 'scancel --signal=TERM "${SLURM_JOB_ID}"' TERM
srun .venv/bin/python -m torch.distributed.run \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head_node:29500" \
    -m tetrad "${task[@]}" &
step=$!
wait "$step" || true  # ends early where the signal comes, and the job would end with it
wait "$step"
