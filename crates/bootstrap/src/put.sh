# Puts a file, packed on the standard input, into its place in one step: TO SHA256 MODE
set -eu
mkdir -p "$(dirname "$1")"
trap 'rm -f "$1.new"' EXIT
gzip -dc >"$1.new"
is=$(sha256sum <"$1.new")
[ "${is%% *}" = "$2" ] || { echo "error: $1 has not arrived whole" >&2; exit 1; }
chmod "$3" "$1.new"
mv -f "$1.new" "$1"
