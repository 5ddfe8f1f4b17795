#!/usr/bin/env bash
# ReFrame checks a cluster: four counts of reads, each a job, and four tasks over two nodes.
#
#   run.sh      in an empty folder that the nodes can see
#
# Needs reframe-hpc, and the Slurm names in PATH. Ends with 0 when all checks pass.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

export PIPELINES=$here/..
reframe -C "$here/settings.py" -c "$here/checks.py" --prefix "$PWD/reframe" --report-file report.json -r
python3 - <<'P'
import json
cases = [case for run in json.load(open("report.json"))["runs"] for case in run["testcases"]]
assert len(cases) == 5 and all(case["result"] == "pass" for case in cases), cases
P
echo "reframe: all checks pass"
