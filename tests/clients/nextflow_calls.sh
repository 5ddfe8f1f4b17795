#!/usr/bin/env bash
# What Nextflow and Cromwell say to sbatch, squeue and scancel: their executors' calls, in their order.
#
# Both are Java programs that no package registry here has. Nextflow submits `.command.run` from the task's folder, reads
# the id from the words of sbatch, asks squeue for "%i %t" of all its jobs every few seconds, takes a job that is no
# longer listed as ended, and reads `.exitcode`. Cromwell submits with --wrap and asks squeue for one job.
#
# What stands in single quotes is for the scripts that are written here.
# shellcheck disable=SC2016
set -euo pipefail

fail() {
  echo "FAILED: $1" >&2
  exit 1
}
until_true() { # SECONDS COMMAND...
  local left=$(($1 * 5))
  shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 0.2
  done
}
me=$(id -un)

task() { # FOLDER TEXT LINES...: the head of .command.run as Nextflow writes it, then a task
  local folder=$1 text=$2
  shift 2
  mkdir -p "$folder"
  {
    printf '#!/bin/bash\n#SBATCH -J nf-%s_(%s)\n#SBATCH -o %s/.command.log\n#SBATCH --no-requeue\n' \
      "$(basename "$folder")" 1 "$folder"
    printf '#SBATCH %s\n' '--signal B:USR2@30' "$@"
    printf 'NXF_CHDIR=%s\n# NEXTFLOW TASK: %s\nset -e\nset -u\n' "$folder" "$(basename "$folder")"
    printf 'on_exit() { local code=${nxf_code:-$?}; printf -- "$code" >%s/.exitcode; exit "$code"; }\n' "$folder"
    printf 'on_term() { echo term >>%s/.signals; nxf_code=143; exit 143; }\n' "$folder"
    printf 'trap on_exit EXIT\ntrap on_term TERM INT USR2\ntouch %s/.command.begin\n%s\n' "$folder" "$text"
  } >"$folder/.command.run"
}
submit() { # FOLDER: Nextflow takes stderr and stdout together
  (cd "$1" && sbatch .command.run 2>&1) | sed -n 's/^.*Submitted batch job \([0-9]*\).*$/\1/p'
}
states() { squeue --noheader -o '%i %t' -t all -p main -u "$me"; }
state_is() { [ "$(states | awk -v id="$1" '$1 == id { print $2 }')" = "$2" ]; }

work=$PWD/work
task "$work/aa/1111" 'echo "one $SLURM_JOB_ID"; ( exit 0 )' '-c 2' '-t 00:05:00' '--mem 300M' '-p main '
task "$work/bb/2222" 'echo two; ( exit 5 )' '-c 1' '-t 00:05:00' '--mem 200M'
task "$work/cc/3333" 'sleep 200 & wait $!' '-t 00:05:00' '--mem 100M'
one=$(submit "$work/aa/1111") two=$(submit "$work/bb/2222") three=$(submit "$work/cc/3333")
[ "$(printf '%s\n' "$one" "$two" "$three" | grep -c '^[0-9][0-9]*$')" = 3 ] || fail "ids: $one, $two, $three"
states >first
for id in "$one" "$two" "$three"; do
  grep -Eq "^$id (PD|CF|R|CG|CD|F)\$" first || fail "job $id is not listed at once: $(cat first)"
done
awk 'NF != 2 { exit 1 }' first || fail "more than two columns: $(cat first)"

until_true 60 state_is "$one" CD || fail "job $one: $(states)"
until_true 60 state_is "$two" F || fail "job $two: $(states)"
[ "$(cat "$work/aa/1111/.exitcode") $(cat "$work/bb/2222/.exitcode")" = "0 5" ] || fail "exit codes"
[ "$(cat "$work/aa/1111/.command.log")" = "one $one" ] || fail "log: $(cat "$work/aa/1111/.command.log")"

until_true 60 [ -e "$work/cc/3333/.command.begin" ] || fail "job $three has not begun: $(states)"
scancel "$three" 2>&1 || fail "scancel"
until_true 60 state_is "$three" CA || fail "job $three: $(states)"
[ -z "$(scancel "$three" "$one" 2>&1)" ] || fail "scancel of ended jobs says something"

# An array of tasks, cancelled by the ids of its parts in one call.
task "$work/dd/4444" 'sleep 200' '--array 0-3' '--mem 100M'
sed -i 's,\.command\.log,/dev/null,;s,^#SBATCH -o .*,#SBATCH -o /dev/null,' "$work/dd/4444/.command.run"
four=$(submit "$work/dd/4444")
scancel "${four}_0" "${four}_1" "${four}_2" "${four}_3"
left() { [ -z "$(squeue --noheader -r -j "$four" -o %i 2>/dev/null)" ]; }
until_true 60 left || fail "left of the array: $(squeue -r -j "$four")"

# Cromwell.
mkdir -p cromwell/execution
printf '#!/bin/bash\necho "cromwell in $PWD"\n' >cromwell/execution/script
said=$(sbatch -J cromwell_own -D "$PWD/cromwell" -o "$PWD/cromwell/execution/stdout" \
  -e "$PWD/cromwell/execution/stderr" -t 5 -p main --cpus-per-task 2 --mem-per-cpu=100 \
  --wrap "/bin/bash $PWD/cromwell/execution/script")
[[ $said =~ ^Submitted\ batch\ job\ ([0-9]+)$ ]] || fail "sbatch says: $said"
id=${BASH_REMATCH[1]}
squeue -j "$id" >alive || fail "the job is not alive: $(cat alive)"
until_true 60 grep -q "^cromwell in $PWD/cromwell\$" cromwell/execution/stdout || fail "no output of $id"
until_true 60 state_is "$id" CD || fail "job $id: $(states)"
scancel "$id" || fail "scancel of an ended job"
echo "nextflow and cromwell: all right"
