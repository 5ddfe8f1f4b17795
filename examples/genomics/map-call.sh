#!/bin/bash
#PCLUSTER --job-name=map-call
#PCLUSTER --array=1-4
#PCLUSTER --cpus-per-task=1 --mem=500M
#PCLUSTER --time=10m
#
# Map the reads of one sample to the reference and call its variants.
# Each array task takes one sample: task 1 the first by name, and so on.
#
#   map-call.sh DATA OUT
#
# Reads   DATA/samples/NAME_1.fastq.gz and NAME_2.fastq.gz, OUT/ref (prepare.sh)
# Writes  OUT/bam/NAME.bam, OUT/bam/NAME.bam.bai, OUT/calls/NAME.vcf.gz
#
# Tasks share nothing but the directories. All work happens in the task's own
# temporary directory and each file is moved into place when it is whole, so a
# task that was killed can simply run again.
set -euo pipefail
export LC_ALL=C

fail() {
  printf 'map-call: %s\n' "$@" >&2
  exit 1
}

# Moves a finished file to the shared output in one step. The name in between
# belongs to this job, so a requeued job overwrites its own remains.
publish() {
  local part="$2.part-${SLURM_JOB_ID:-$$}"
  cp -- "$1" "$part"
  mv -f -- "$part" "$2"
}

[ $# -eq 2 ] || fail "two arguments are needed: map-call.sh DATA OUT"
data=$1 out=$2
task=${SLURM_ARRAY_TASK_ID:-}
[[ $task =~ ^[0-9]+$ ]] || fail "SLURM_ARRAY_TASK_ID is not set: submit this script as a job array"
for tool in bwa samtools bcftools; do
  command -v "$tool" >/dev/null || fail "$tool is not installed on $HOSTNAME"
done

shopt -s nullglob
firsts=("$data"/samples/*_1.fastq.gz)
count=${#firsts[@]}
[ "$count" -gt 0 ] || fail "$data/samples has no *_1.fastq.gz file"
((10#$task >= 1 && 10#$task <= count)) ||
  fail "there is no sample for task $task: $data/samples has $count, so use --array=1-$count"
first=${firsts[10#$task - 1]}
second=${first%_1.fastq.gz}_2.fastq.gz
sample=$(basename -- "$first" _1.fastq.gz)
reference=$out/ref/ref.fa
[ -r "$second" ] || fail "$sample has no second read file $second"
# prepare.sh moves the files into place in order of name, .sa last.
[ -r "$reference.sa" ] ||
  fail "$out/ref has no index: run prepare.sh first"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

echo "map-call: task $task is $sample, on $HOSTNAME"
# The read group names the sample; the joint call tells samples apart by it.
bwa mem -t "${SLURM_CPUS_PER_TASK:-1}" -R "@RG\\tID:$sample\\tSM:$sample" \
  "$reference" "$first" "$second" 2>"$work/bwa.log" |
  samtools sort -m 128M -T "$work/sort" -o "$work/sample.bam" - 2>"$work/sort.log" ||
  fail "mapping $sample failed:" "$(cat "$work/bwa.log" "$work/sort.log")"
samtools index "$work/sample.bam"

# A virus has one copy of its genome, hence ploidy 1.
bcftools mpileup -f "$reference" "$work/sample.bam" 2>"$work/mpileup.log" |
  bcftools call -mv --ploidy 1 -Oz -o "$work/sample.vcf.gz" 2>"$work/call.log" ||
  fail "calling $sample failed:" "$(cat "$work/mpileup.log" "$work/call.log")"

reads=$(samtools view -c -F 0x900 "$work/sample.bam")
mapped=$(samtools view -c -F 0x904 "$work/sample.bam")
variants=$(bcftools view -H "$work/sample.vcf.gz" | wc -l)

mkdir -p -- "$out/bam" "$out/calls"
publish "$work/sample.bam" "$out/bam/$sample.bam"
publish "$work/sample.bam.bai" "$out/bam/$sample.bam.bai"
publish "$work/sample.vcf.gz" "$out/calls/$sample.vcf.gz"
echo "map-call: $sample has $variants variants from $mapped mapped of $reads reads"
