# shellcheck shell=bash
# Install system packages that a script needs.
#
#   source scripts/lib/packages.sh
#   need_packages bwa samtools cc=gcc || exit 1
#
# An argument is a package whose command has the same name, COMMAND=PACKAGE, or /A/FILE=PACKAGE.
# Nothing happens when all commands are there. Otherwise apt-get installs what is
# missing when this is Debian or a relative of it and the user is root or has
# sudo without a password; in every other case the function says what to install
# and returns 1. It never asks a question and never changes the caller's shell.
#
# All output goes to stderr, because a script's stdout may be somebody's data.
# PACKAGES_LOCK_WAIT_S: seconds to wait for another installation (default 300).

need_packages() {
  local argument command
  local -a commands=() packages=()
  for argument in "$@"; do
    command=${argument%%=*}
    if ! packages_have "$command"; then
      commands+=("$command")
      packages+=("${argument#*=}")
    fi
  done
  [ ${#packages[@]} -gt 0 ] || return 0

  local -a as_root=()
  if ! command -v apt-get >/dev/null 2>&1; then
    _packages_advise "there is no apt-get on this system" "${packages[@]}"
    return 1
  elif [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      _packages_advise "installing needs root or sudo without a password" "${packages[@]}"
      return 1
    fi
    as_root=(sudo -n)
  fi

  # A subshell keeps the log's trap and every setting away from the caller.
  (_packages_install "${packages[@]}") || return 1

  hash -r
  for command in "${commands[@]}"; do
    if ! packages_have "$command"; then
      echo "error: apt-get installed ${packages[*]}, but there is still no command $command" >&2
      return 1
    fi
  done
}

# A command that the shell finds, or a file by its whole path.
packages_have() {
  case $1 in
  /*) [ -e "$1" ] ;;
  *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# Prints what is missing, why it was not installed, and the command that would do it.
_packages_advise() {
  local why=$1 with
  shift
  if command -v apt-get >/dev/null 2>&1; then
    with="sudo apt-get install"
  elif command -v dnf >/dev/null 2>&1; then
    with="sudo dnf install"
  elif command -v zypper >/dev/null 2>&1; then
    with="sudo zypper install"
  elif command -v pacman >/dev/null 2>&1; then
    with="sudo pacman -S"
  elif command -v brew >/dev/null 2>&1; then
    with="brew install"
  else
    with="install these packages of your system:"
  fi
  printf 'error: missing: %s\ncause: %s\nhint: %s %s\n' "$*" "$why" "$with" "$*" >&2
}

# Runs in a subshell of need_packages, whose array as_root it reads.
_packages_install() {
  local log started=$SECONDS
  # Not local: the trap runs when the function's own variables are gone.
  _packages_log=$(mktemp) || return 1
  trap 'rm -f -- "$_packages_log"' EXIT
  log=$_packages_log
  _packages_told=no
  echo "packages: installing $* with apt-get" >&2
  # Old package lists may be good enough, so only the installation decides.
  _packages_apt "$log" update ||
    echo "packages: the package lists could not be refreshed; trying with what is here" >&2
  if ! _packages_apt "$log" install --yes --no-install-recommends "$@"; then
    echo "error: apt-get could not install $*" >&2
    grep -E '^[EW]: ' "$log" | tail -n 5 | sed 's/^/cause: /' >&2
    echo "hint: by hand: ${as_root[*]:+sudo }apt-get install $*" >&2
    return 1
  fi
  echo "packages: ready after $((SECONDS - started)) s" >&2
}

# Runs apt-get, again and again while another process holds its lock. The log is
# the last attempt's.
_packages_apt() {
  local log=$1 wait_s=${PACKAGES_LOCK_WAIT_S:-300} started=$SECONDS
  shift
  while true; do
    if _packages_apt_once "$log" "$@"; then
      return 0
    fi
    grep -qE 'Could not get lock|Unable to (acquire|lock)|is another process using it' "$log" || return 1
    [ $((SECONDS - started)) -lt "$wait_s" ] || return 1
    if [ "$_packages_told" = no ]; then
      echo "packages: another installation is running; waiting up to $wait_s s for it" >&2
      _packages_told=yes
    fi
    sleep 2
  done
}

# apt-get stays in the foreground, so that Ctrl-C reaches it and nothing is left
# behind; what it says goes to the log and, on a terminal, to one line that moves.
_packages_apt_once() {
  local log=$1
  shift
  (
    set -o pipefail
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C \
      apt-get -q -o Dpkg::Use-Pty=0 "$@" 2>&1 </dev/null | tee -- "$log" | _packages_progress
  )
}

_packages_progress() {
  local line
  while IFS= read -r line; do
    if [ -t 2 ]; then
      case $line in
      Get:* | Hit:* | Unpacking* | Setting\ up*) printf '\r\033[Kpackages: %.60s' "$line" >&2 ;;
      esac
    fi
  done
  [ ! -t 2 ] || printf '\r\033[K' >&2
}
