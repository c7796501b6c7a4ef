#!/usr/bin/env bash
# Test under Slurm; GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS say with what:
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [ARGUMENTS OF test.py]
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,3s/^# *//p' "$0" >&2
    exit 2
fi
partition=$1 job_name=$2 config=$3 checkpoint=$4
shift 4
tools=$(dirname "$0")
gpus=${GPUS:-4}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}

# SRUN_ARGS holds several arguments and is split on purpose.
# shellcheck disable=SC2086
PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}" exec srun \
    --partition="$partition" --job-name="$job_name" \
    --gres="gpu:$gpus_per_node" --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$tools/test.py" "$config" "$checkpoint" --launcher slurm "$@"
