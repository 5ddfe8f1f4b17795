#!/usr/bin/env bash
# Snakemake with its Slurm executor, as its documentation shows it: counts words of three texts, adds them up.
set -euo pipefail

mkdir texts
for text in ash birch oak; do
  for line in $(seq ${#text}); do echo "$text stands here, line $line"; done >"texts/$text.txt"
done
cat >Snakefile <<'S'
TEXTS = ["ash", "birch", "oak"]

localrules: all

rule all:
    input: "total.txt"

rule count:
    input: "texts/{text}.txt"
    output: "counts/{text}.txt"
    threads: 2
    resources: mem_mb=250, runtime="4m"
    shell: "echo $(wc -w <{input}) {threads} ${{SLURM_CPUS_PER_TASK:-none}} $SLURM_JOB_ID >{output}"

rule total:
    input: expand("counts/{text}.txt", text=TEXTS)
    output: "total.txt"
    resources: mem_mb=200, runtime=4
    shell: "awk '{{ words += $1 }} END {{ print words }}' {input} >{output}"

rule broken:
    output: "broken.txt"
    resources: mem_mb=200, runtime=4
    shell: "echo this rule breaks; exit 4"

rule halves:
    input: "texts/{text}.txt"
    output: "halves/{text}.txt"
    group: "pair"
    resources: mem_mb=200, runtime=4
    shell: "head -n 2 {input} >{output}; echo $SLURM_JOB_ID >>jobs-of-group"

rule joined:
    input: expand("halves/{text}.txt", text=TEXTS)
    output: "joined.txt"
    group: "pair"
    resources: mem_mb=200, runtime=4
    shell: "cat {input} >{output}; echo $SLURM_JOB_ID >>jobs-of-group"
S

say() { printf '\n-- %s\n' "$1"; }
run() {
  snakemake --executor slurm --jobs 6 --latency-wait 20 --slurm-init-seconds-before-status-checks 4 \
    --seconds-between-status-checks 7 "$@"
}
fail() {
  echo "FAILED: $1" >&2
  exit 1
}

say "a workflow, its states asked from sacct, with the report of efficiency"
run --slurm-efficiency-report --slurm-efficiency-report-path "$PWD/efficiency"
# Each line of a text has five words.
[ "$(cat total.txt)" = $((5 * (3 + 5 + 3))) ] || fail "total.txt says $(cat total.txt)"
[ "$(awk '$2 == 2 && $3 == 2' counts/*.txt | wc -l)" = 3 ] || fail "two threads and CPUs a rule: $(cat counts/*.txt)"
[ "$(awk '{ print $4 }' counts/*.txt | sort -u | wc -l)" = 3 ] || fail "one job for each text: $(cat counts/*.txt)"
report=$(find . -name '*efficiency*.csv' | head -n 1)
[ -n "$report" ] || fail "there is no report: $(ls)"
[ "$(wc -l <"$report")" -ge 5 ] || fail "the report has a row for each of four jobs: $(cat "$report")"

say "a group of rules is one job; its state is asked from squeue"
run --slurm-status-command squeue joined.txt
[ "$(wc -l <joined.txt)" = 6 ] || fail "joined.txt has $(wc -l <joined.txt) lines"
[ "$(sort -u jobs-of-group | wc -l)" = 1 ] || fail "several jobs for a group: $(cat jobs-of-group)"

say "a rule that fails"
if run broken >broken.log 2>&1; then fail "a failing rule must fail the workflow"; fi
grep -q "Error in rule broken" broken.log || fail "the rule is not named: $(cat broken.log)"
if [ -e broken.txt ]; then fail "broken.txt is there"; fi
echo "snakemake-slurm: all right"
