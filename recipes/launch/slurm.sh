#!/bin/bash
# sbatch recipes/launch/slurm.sh RECIPE [key=value ...]
#
# Two machines of eight GPUs: one task a machine, torchrun starts a process for each GPU. Submit it from a folder that
# all machines see, as they must output_dir. SIGTERM five minutes before the end: the run saves.
#SBATCH --job-name=detr
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=48
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@300
set -euo pipefail
first_machine=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_NNODES" --nproc_per_node "${SLURM_GPUS_ON_NODE:-8}" --rdzv_id "$SLURM_JOB_ID" \
    --rdzv_backend c10d --rdzv_endpoint "$first_machine:29500" -m detr_hf.train "$@"
