#!/bin/bash
#PCLUSTER --job-name=prepare
#PCLUSTER --cpus-per-task=1 --mem=500M
#PCLUSTER --time=10m
#
# Index the reference genome once, for every task that maps against it.
#
#   prepare.sh DATA OUT
#
# Reads   DATA/reference/*.fasta (or *.fasta.gz), exactly one
# Writes  OUT/ref/ref.fa and the indexes of bwa and samtools beside it
#
# All work happens in the job's own temporary directory and each file is moved
# into place when it is whole, so a run that was killed can simply run again.
set -euo pipefail
export LC_ALL=C

fail() {
  printf 'prepare: %s\n' "$@" >&2
  exit 1
}

# Moves a finished file to the shared output in one step. The name in between
# belongs to this job, so a requeued job overwrites its own remains.
publish() {
  local part="$2.part-${SLURM_JOB_ID:-$$}"
  cp -- "$1" "$part"
  mv -f -- "$part" "$2"
}

[ $# -eq 2 ] || fail "two arguments are needed: prepare.sh DATA OUT"
data=$1 out=$2
for tool in bwa samtools; do
  command -v "$tool" >/dev/null || fail "$tool is not installed on $HOSTNAME"
done

shopt -s nullglob
references=("$data"/reference/*.fasta "$data"/reference/*.fasta.gz)
[ ${#references[@]} -eq 1 ] ||
  fail "$data/reference must hold exactly one .fasta or .fasta.gz file; it has ${#references[@]}"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

echo "prepare: indexing ${references[0]##*/} on $HOSTNAME"
# With -f, gzip passes a file that is not compressed through as it is.
gzip -cdf -- "${references[0]}" >"$work/ref.fa"
bwa index "$work/ref.fa" 2>"$work/bwa.log" || fail "bwa index failed:" "$(cat "$work/bwa.log")"
samtools faidx "$work/ref.fa"

mkdir -p -- "$out/ref"
for file in "$work"/ref.fa*; do
  publish "$file" "$out/ref/${file##*/}"
done
awk '{ bases += $2 } END { printf "prepare: %d sequence(s), %d bases, index ready\n", NR, bases }' \
  "$out/ref/ref.fa.fai"
