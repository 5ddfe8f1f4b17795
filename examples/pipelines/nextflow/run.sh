#!/usr/bin/env bash
# What Nextflow says to sbatch, squeue and scancel for a pipeline of five processes: a count of reads for each of four
# samples, and one table. A replay, not Nextflow itself, which no package registry used for the tests has.
#
#   run.sh      in an empty folder that the nodes can see
#
# Needs the Slurm names in PATH. Ends with 0 when the table is right.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
samples=$(cd -- "$here/../../genomics/lambda-excerpt/samples" && pwd)
user=$(id -un)

fail() {
  echo "nextflow: $1" >&2
  exit 1
}

# A folder of a task, as Nextflow makes it: the script, and around it .command.run, which is submitted.
task() { # NAME SCRIPT
  local folder=$PWD/work/$1
  mkdir -p "$folder"
  printf '#!/bin/bash -ue\n%s\n' "$2" >"$folder/.command.sh"
  cat >"$folder/.command.run" <<RUN
#!/bin/bash
#SBATCH -J nf-$1
#SBATCH -o $folder/.command.log
#SBATCH --no-requeue
#SBATCH --signal B:USR2@30
#SBATCH -c 1
#SBATCH -t 00:05:00
#SBATCH --mem 300M
NXF_CHDIR=$folder
# NEXTFLOW TASK: $1
set -e
set -u
cd "\$NXF_CHDIR"
on_exit() { code=\$?; printf -- "\$code" >.exitcode; exit "\$code"; }
trap on_exit EXIT
trap 'exit 143' TERM INT USR2
touch .command.begin
/bin/bash -ue .command.sh >.command.out 2>.command.err
RUN
}

submit() { # NAME: the id, from stdout and stderr together
  (cd "work/$1" && sbatch .command.run 2>&1) | sed -n 's/.*[sS]ubmitted batch job \([0-9]*\).*/\1/p'
}

# Every few seconds one question for all tasks. A task has ended when its job is no longer listed as waiting or running;
# then its exit code is in .exitcode.
wait_for() { # NAME...
  local name id state left waited=0
  while :; do
    squeue --noheader -o '%i %t' -t all -u "$user" >queue || fail "squeue failed"
    left=0
    for name in "$@"; do
      id=${ids[$name]}
      state=$(awk -v id="$id" '$1 == id { print $2 }' queue)
      case $state in
      CD | F | CA | TO | NF | OOM | BF | DL | PR) ;;
      '') fail "job $id of $name is not listed" ;;
      *) left=$((left + 1)) ;;
      esac
    done
    [ "$left" -gt 0 ] || break
    waited=$((waited + 1))
    [ "$waited" -lt 150 ] || fail "$left tasks have not ended: $(cat queue)"
    sleep 2
  done
  for name in "$@"; do
    [ "$(cat "work/$name/.exitcode")" = 0 ] || fail "$name failed: $(cat "work/$name/.command.log")"
  done
}

declare -A ids
counts=()
for first in "$samples"/*_1.fastq.gz; do
  sample=$(basename "$first" _1.fastq.gz)
  counts+=("count-$sample")
  task "count-$sample" "printf '%s\\t%s\\n' $sample \"\$($here/../count-reads $first ${first%_1.fastq.gz}_2.fastq.gz)\" >$sample.tsv"
  ids[count-$sample]=$(submit "count-$sample")
  [ -n "${ids[count-$sample]}" ] || fail "no id of count-$sample"
done
wait_for "${counts[@]}"

task table "{ printf 'sample\\treads\\tbases\\tgc\\n'; cat $PWD/work/count-*/*.tsv; } >reads.tsv"
ids[table]=$(submit table)
wait_for table

diff -- "$here/../expected.tsv" work/table/reads.tsv
echo "nextflow: the table is right"
