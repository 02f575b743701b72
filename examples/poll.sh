#!/usr/bin/env bash
# Compress a model with nothing but curl, sed and a POSIX shell's tools.
#
#   examples/poll.sh http://127.0.0.1:8000 model.onnx data.npz result [RECIPE]
#
# SOSP_API_KEY is sent if it is set.
set -euo pipefail
server=$1 model=$2 data=$3 place=$4 recipe=${5:-balanced}

ask() { curl --silent --show-error --fail-with-body ${SOSP_API_KEY:+-H "Authorization: Bearer $SOSP_API_KEY"} "$@"; }

model_id=$(ask --data-binary "@$model" -H 'Content-Type: application/octet-stream' "$server/v1/models" | grep -o 'mdl_[0-9A-Z]*' | head -n 1)
data_id=$(ask --data-binary "@$data" -H 'Content-Type: application/octet-stream' "$server/v1/datasets" | grep -o 'dat_[0-9A-Z]*' | head -n 1)
job=$(ask -H 'Content-Type: application/json' \
    -d "{\"model_id\": \"$model_id\", \"dataset_id\": \"$data_id\", \"recipe\": \"$recipe\"}" \
    "$server/v1/jobs" | grep -o 'job_[0-9A-Z]*' | head -n 1)
echo "job $job"

state=queued
until [ "$state" = succeeded ] || [ "$state" = failed ] || [ "$state" = cancelled ]; do
    # Each request waits up to 20 seconds for a change, so this loop asks seldom and learns soon.
    state=$(ask "$server/v1/jobs/$job?wait=20" | grep -o '"state": *"[a-z]*"' | head -n 1 | cut -d '"' -f 4)
    echo "$state"
done
[ "$state" = succeeded ] || { ask "$server/v1/jobs/$job"; exit 1; }

mkdir -p "$place"
for name in model.onnx report.html report.json; do
    ask -o "$place/$name" "$server/v1/jobs/$job/artifacts/$name"
done
ls -l "$place"
