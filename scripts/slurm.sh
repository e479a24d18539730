#!/bin/bash
# A training under Slurm that goes on after its time is up, a preemption or a failing node:
#     sbatch scripts/slurm.sh model.attention=local_p name=mine
# Two minutes before the time is up Slurm sends SIGUSR1, at a preemption SIGTERM. nmt.train saves after the update at hand and
# exits with 138 or 143; the job is then queued again, and resume=true goes on where it stopped, bit for bit.
#SBATCH --job-name=nmt
#SBATCH --time=04:00:00
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120

${PYTHON:-python} -m nmt.train "$@" resume=true &
training=$!
# Slurm tells this script, which passes it on; wait returns early at each signal.
trap 'kill -USR1 $training' USR1
trap 'kill -TERM $training' TERM
while wait $training; status=$?; kill -0 $training 2>/dev/null; do :; done
case $status in
    138 | 143) scontrol requeue "$SLURM_JOB_ID" ;; # 128 + SIGUSR1, 128 + SIGTERM
esac
exit $status
