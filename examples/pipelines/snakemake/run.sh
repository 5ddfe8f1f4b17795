#!/usr/bin/env bash
# Snakemake's Slurm executor counts the reads of four samples, one job each, and one job makes the table.
#
#   run.sh      in an empty folder that the nodes can see
#
# Needs snakemake and snakemake-executor-plugin-slurm, and the Slurm names in PATH. Ends with 0 when
# the table is right.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

cp -r -- "$here/Snakefile" "$here/profile" .
snakemake --profile profile --config "data=$here/../../genomics/lambda-excerpt/samples" "tools=$here/.."

diff -- "$here/../expected.tsv" reads.tsv
echo "snakemake: the table is right"
