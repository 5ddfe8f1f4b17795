#!/bin/bash
#PCLUSTER --job-name=joint
#PCLUSTER --cpus-per-task=1 --mem=500M
#PCLUSTER --time=10m
#
# Call variants over all samples together and count what was found.
#
#   joint.sh DATA OUT
#
# Reads   OUT/ref (prepare.sh), OUT/bam and OUT/calls of every sample in DATA (map-call.sh)
# Writes  OUT/calls/joint.vcf.gz and OUT/counts.tsv: one line for each sample and one
#         for the joint call, with the columns name, variants, SNPs, indels and
#         the first 12 hex digits of the md5 of CHROM, POS, REF, ALT
#
# All work happens in the job's own temporary directory and each file is moved
# into place when it is whole, so a run that was killed can simply run again.
set -euo pipefail
export LC_ALL=C

fail() {
  printf 'joint: %s\n' "$@" >&2
  exit 1
}

# Moves a finished file to the shared output in one step. The name in between
# belongs to this job, so a requeued job overwrites its own remains.
publish() {
  local part="$2.part-${SLURM_JOB_ID:-$$}"
  cp -- "$1" "$part"
  mv -f -- "$part" "$2"
}

count_line() {
  local name=$1 vcf=$2 variants snps indels digest
  variants=$(bcftools view -H "$vcf" | wc -l)
  snps=$(bcftools view -H -v snps "$vcf" | wc -l)
  indels=$(bcftools view -H -v indels "$vcf" | wc -l)
  digest=$(bcftools view -H "$vcf" | cut -f1,2,4,5 | md5sum | cut -c1-12)
  printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$variants" "$snps" "$indels" "$digest"
}

[ $# -eq 2 ] || fail "two arguments are needed: joint.sh DATA OUT"
data=$1 out=$2
command -v bcftools >/dev/null || fail "bcftools is not installed on $HOSTNAME"
[ -r "$out/ref/ref.fa.fai" ] || fail "$out/ref has no index: run prepare.sh first"

# The samples come from DATA, not from what lies in OUT, so that a sample that
# was never mapped is an error and not a shorter table.
shopt -s nullglob
samples=() bams=()
for first in "$data"/samples/*_1.fastq.gz; do
  sample=$(basename -- "$first" _1.fastq.gz)
  for file in "$out/bam/$sample.bam" "$out/calls/$sample.vcf.gz"; do
    [ -r "$file" ] || fail "$file is missing: run map-call.sh for $sample first"
  done
  samples+=("$sample")
  bams+=("$out/bam/$sample.bam")
done
[ ${#samples[@]} -gt 0 ] || fail "$data/samples has no *_1.fastq.gz file"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

echo "joint: calling ${#samples[@]} samples together on $HOSTNAME"
bcftools mpileup -f "$out/ref/ref.fa" "${bams[@]}" 2>"$work/mpileup.log" |
  bcftools call -mv --ploidy 1 -Oz -o "$work/joint.vcf.gz" 2>"$work/call.log" ||
  fail "the joint call failed:" "$(cat "$work/mpileup.log" "$work/call.log")"

for sample in "${samples[@]}"; do
  count_line "$sample" "$out/calls/$sample.vcf.gz"
done >"$work/counts.tsv"
count_line joint "$work/joint.vcf.gz" >>"$work/counts.tsv"

publish "$work/joint.vcf.gz" "$out/calls/joint.vcf.gz"
publish "$work/counts.tsv" "$out/counts.tsv"
echo "joint: name, variants, SNPs, indels, digest"
cat -- "$out/counts.tsv"
