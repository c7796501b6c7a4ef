#!/usr/bin/env bash
# Test with several processes on this machine, or on one of NNODES machines:
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [ARGUMENTS OF test.py]
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '2,3s/^# *//p' "$0" >&2
    exit 2
fi
config=$1 checkpoint=$2 processes=$3
shift 3
tools=$(dirname "$0")
if [ -z "${PORT:-}" ] && [ "${NNODES:-1}" = 1 ]; then # another job may have the usual one
    PORT=$("${PYTHON:-python}" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
fi

PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
