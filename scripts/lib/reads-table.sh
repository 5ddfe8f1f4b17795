#!/bin/sh
#PCLUSTER --job-name=reads-table
#PCLUSTER --cpus-per-task=1 --mem=100M
#PCLUSTER --time=10m
#
# Put the rows of reads.sh together.
#
#   reads-table.sh DATA OUT
set -eu
out=$2
cat "$out"/*.reads >"$out/reads.tsv"
echo "reads-table: name, reads, bases, G or C"
cat "$out/reads.tsv"
