#!/usr/bin/env bash
# Snakemake with its generic executor: the words of sbatch, squeue and scancel are the user's own.
set -euo pipefail

fail() {
  echo "FAILED: $1" >&2
  exit 1
}

cat >Snakefile <<'S'
rule all:
    input: expand("out/{n}.txt", n=range(1, 4))

rule square:
    output: "out/{n}.txt"
    threads: 1
    resources: mem_mb=200
    shell: "echo $(( {wildcards.n} * {wildcards.n} )) >{output}"

rule stuck:
    output: "stuck.txt"
    shell: "touch stuck.began; sleep 300"
S
# A site's status command: first what is in the queue, then what is in the books.
cat >state <<'S'
#!/usr/bin/env bash
word=$(squeue --noheader --jobs "$1" --states all --format %T 2>/dev/null | head -n 1)
[ -n "$word" ] || word=$(sacct --noheader --allocations --parsable2 --jobs "$1" --format State | head -n 1)
case ${word%% *} in
COMPLETED) echo success ;;
"" | PENDING | CONFIGURING | RUNNING | COMPLETING | SUSPENDED | REQUEUED) echo running ;;
*) echo failed ;;
esac
S
chmod +x state
mkdir logs

run() {
  snakemake --executor cluster-generic --jobs 3 --latency-wait 20 --seconds-between-status-checks 1 \
    --cluster-generic-submit-cmd "sbatch --parsable --job-name=own-{rule} --cpus-per-task={threads} --mem=250M --time=0:04:00 --output=logs/%x-%j.log" \
    --cluster-generic-status-cmd ./state --cluster-generic-cancel-cmd scancel "$@"
}

run
[ "$(cat out/1.txt out/2.txt out/3.txt | tr '\n' ' ')" = "1 4 9 " ] || fail "squares: $(cat out/*.txt)"
[ "$(find logs -name 'own-square-*.log' | wc -l)" = 3 ] || fail "three logs under the job's name: $(ls logs)"

# Ctrl-C: Snakemake cancels what it has submitted. With job control a background command does not ignore SIGINT.
set -m
run stuck.txt >stuck.log 2>&1 &
main=$!
set +m
# What Snakemake has not heard the number of, it cannot cancel: the job may begin before that.
for _ in $(seq 600); do
  [ -e stuck.began ] && grep -q "external jobid" stuck.log && break
  sleep 0.1
done
[ -e stuck.began ] || fail "the job that will be cancelled has not begun: $(cat stuck.log)"
id=$(squeue --me --noheader --name own-stuck --format %i)
kill -INT -- "-$main"
if wait "$main"; then fail "an interrupted workflow must not succeed"; fi
for _ in $(seq 300); do
  state=$(sacct -nXP -j "$id" -o State)
  [ "${state%% *}" = CANCELLED ] && break
  sleep 0.1
done
[ "${state%% *}" = CANCELLED ] || fail "job $id is $state"
echo "snakemake-generic: all right"
