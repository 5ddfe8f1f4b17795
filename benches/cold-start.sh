#!/usr/bin/env bash
# How long from `pcluster submit` to the first line of a job: on a node that has to be launched first
# (cold), on one that waits (warm), and for the same script as a bare process. Also how many
# submissions a second one client makes, one after another.
#
#   benches/cold-start.sh FOLDER [ROUNDS]      (default 20 rounds)
#
# `pcluster` is taken from PATH; FOLDER is empty and on a local disk. All kinds are measured in turn
# in every round, so that ratios hold on a machine whose speed changes. Prints `name value unit` lines.
set -euo pipefail
folder=${1:?a folder} rounds=${2:-20} submits=${SUBMITS:-20}
mkdir -p -- "$folder/bench"
cd -- "$folder/bench"
unset PCLUSTER_CONFIG PCLUSTER_CLUSTER
export PCLUSTER_STATE_DIR=$folder/state PCLUSTER_RUNTIME_DIR=$folder/run

cleanup() {
  trap - EXIT
  trap '' INT TERM
  timeout 60 pcluster down --now >/dev/null 2>&1 || true
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cat >cluster.toml <<'TOML'
provider = "process"
compute  = { cpus = 1, memory = "1 GB", max = 1, idle_timeout = "0" }

[pools.warm]
cpus         = 1
memory       = "1 GB"
max          = 1
idle_timeout = "1 h"
TOML
# The job's first line is the time at which it says it, in microseconds.
cat >job.sh <<'JOB'
#!/bin/bash
echo "${EPOCHREALTIME//[.,]/}"
JOB
chmod +x job.sh

report() { awk -v name="$1" -v from="$2" -v to="$3" 'BEGIN { printf "%s %.2f ms\n", name, (to - from) / 1000 }'; }

from_submit() {
  local name=$1 pool=$2 from id
  from=${EPOCHREALTIME//[.,]/}
  id=$(pcluster submit -q -p "$pool" -o "$name.out" job.sh)
  pcluster wait "$id" --timeout 60s 2>/dev/null
  report "$name" "$from" "$(head -n 1 "$name.out")"
  rm -f -- "$name.out"
}

no_cold_node() {
  local deadline=$((SECONDS + 60))
  while pcluster nodes 2>/dev/null | awk 'NR > 1 && $1 ~ /^compute-/ { found = 1 } END { exit !found }'; do
    [ "$SECONDS" -lt "$deadline" ] || { echo "error: the node does not go away" >&2; exit 1; }
    sleep 0.05
  done
}

pcluster up >/dev/null 2>&1
pcluster run -p warm -- true 2>/dev/null
for ((round = 0; round < rounds; round++)); do
  from=${EPOCHREALTIME//[.,]/}
  ./job.sh >bare.out
  report start.bare "$from" "$(head -n 1 bare.out)"
  no_cold_node
  from_submit start.cold compute
  from_submit start.warm warm
  from=${EPOCHREALTIME//[.,]/}
  for ((n = 0; n < submits; n++)); do pcluster submit -q -H -p warm --wrap true >>held; done
  to=${EPOCHREALTIME//[.,]/}
  awk -v n="$submits" -v us=$((to - from)) 'BEGIN { printf "submit.one %.2f ms\nsubmit.rate %.1f /s\n", us / n / 1000, n * 1e6 / us }'
  xargs pcluster cancel <held >/dev/null 2>&1
  rm -f -- held
done
