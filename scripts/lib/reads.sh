#!/bin/sh
#PCLUSTER --job-name=reads
#PCLUSTER --array=1-4
#PCLUSTER --cpus-per-task=1 --mem=300M
#PCLUSTER --time=10m
#
# Count the reads, bases and G or C of one sample with gzip and awk: the plain variant of the
# quickstart's job. Task 1 takes the first sample by name, and so on.
#
#   reads.sh DATA OUT
set -eu
LC_ALL=C
export LC_ALL
data=$1 out=$2
set -- "$data"/samples/*_1.fastq.gz
shift $((SLURM_ARRAY_TASK_ID - 1))
first=$1
sample=$(basename "$first" _1.fastq.gz)
mkdir -p "$out"
gzip -cd "$first" "${first%_1.fastq.gz}_2.fastq.gz" |
  awk -v name="$sample" 'NR % 4 == 2 { reads++; bases += length($0); gc += gsub(/[GCgc]/, "") }
    END { printf "%s\t%d\t%d\t%d\n", name, reads, bases, gc }' >"$TMPDIR/row"
cp "$TMPDIR/row" "$out/$sample.reads"
echo "reads: name, reads, bases, G or C"
cat "$out/$sample.reads"
