# shellcheck shell=bash
# The programs of pcluster, built or given.
#
#   source scripts/lib/build.sh
#   need_programs [--release]     sets PROGRAMS (a folder) and BUILD_S (seconds that building took)
#   target_folder                 prints where Cargo builds the checkout that is the working folder
#   stop_build                    ends a build that is still running; for traps
#
# PCLUSTER_BIN_DIR names a folder with ready programs; nothing is built then.
# What the build says is shown only when it fails; meanwhile one line tells how far it is.

PROGRAM_NAMES=(pcluster pcluster-headnode pcluster-agent pcluster-keeper)
PROGRAMS=
# shellcheck disable=SC2034 # for the caller
BUILD_S=0
_build_group=
_build_log=

target_folder() {
  cargo metadata --format-version 1 --no-deps --offline |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

need_programs() {
  local top profile=debug name
  top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
  if [ -n "${PCLUSTER_BIN_DIR:-}" ]; then
    PROGRAMS=$(cd -- "$PCLUSTER_BIN_DIR" && pwd) || return 1
  else
    local -a release=()
    if [ "${1:-}" = --release ]; then
      release=(--release)
      profile=release
    fi
    if ! command -v cargo >/dev/null 2>&1; then
      echo "error: there is no cargo, so nothing can be built" >&2
      echo "hint: https://rustup.rs installs Rust; PCLUSTER_BIN_DIR=DIR uses ready programs" >&2
      return 1
    fi
    if ! command -v cc >/dev/null 2>&1; then
      echo "error: there is no C compiler, which SQLite and the cryptography need" >&2
      echo "hint: sudo apt-get install build-essential" >&2
      return 1
    fi
    local started=$SECONDS
    _build "$top" ${release[@]+"${release[@]}"} || return 1
    # shellcheck disable=SC2034 # for the caller
    BUILD_S=$((SECONDS - started))
    PROGRAMS=$(cd -- "$top" && target_folder)/$profile
  fi
  for name in "${PROGRAM_NAMES[@]}"; do
    if [ ! -x "$PROGRAMS/$name" ]; then
      echo "error: $PROGRAMS has no program $name" >&2
      return 1
    fi
  done
}

stop_build() {
  [ -n "$_build_group" ] || return 0
  kill -TERM -- "-$_build_group" 2>/dev/null || true
  wait "$_build_group" 2>/dev/null || true
  _build_group=
  rm -f -- "$_build_log"
}

# Cargo runs in a process group of its own, so that a signal to the script ends all of it.
_build() {
  local top=$1 name status=0
  local -a packages=()
  shift
  for name in "${PROGRAM_NAMES[@]}"; do packages+=(--package "$name"); done
  _build_log=$(mktemp) || return 1
  set -m
  (
    set -o pipefail
    cd -- "$top" &&
      cargo build --color never "$@" "${packages[@]}" 2>&1 </dev/null |
      tee -- "$_build_log" | _build_progress
  ) &
  _build_group=$!
  set +m
  wait "$_build_group" || status=$?
  _build_group=
  if [ "$status" -ne 0 ]; then
    grep -vE '^ *(Compiling|Downloaded|Downloading) ' "$_build_log" | tail -n 40 >&2
    echo "error: the build failed" >&2
  fi
  rm -f -- "$_build_log"
  return "$status"
}

# One line that moves on a terminal, else a line now and then.
_build_progress() {
  local line crates=0 now=packages started=$SECONDS said=$SECONDS got
  while true; do
    line='' got=0
    IFS= read -r -t 1 line || got=$?
    case $line in
    *Compiling\ *) crates=$((crates + 1)) now=${line##*Compiling } now=${now%% *} ;;
    esac
    if [ -t 2 ] && [ "$crates" -gt 0 ]; then
      printf '\r\033[Kbuilding: %d packages, %s, %d s' "$crates" "$now" $((SECONDS - started)) >&2
    elif [ $((SECONDS - said)) -ge 15 ]; then
      echo "building: $crates packages so far, $((SECONDS - started)) s" >&2
      said=$SECONDS
    fi
    # Above 128 it was the timeout; otherwise the build has closed its end.
    [ "$got" -eq 0 ] || [ "$got" -gt 128 ] || break
  done
  [ ! -t 2 ] || printf '\r\033[K' >&2
}
