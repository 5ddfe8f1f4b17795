#!/bin/sh
# lsblk, blkid, mkfs.ext4 and mount on a head's machine of the tests' cloud. A volume is a folder: FOLDER/disks has a line
# "DEVICE SERIAL FOLDER" for each, and what file system it has stands in FOLDER.fs as "TYPE UUID LABEL". Whatever is not
# about a volume goes to the real program.
name=${0##*/}
table=$(dirname -- "$0")/../disks

real() {
  PATH=/usr/sbin:/usr/bin:/sbin:/bin exec "$name" "$@"
}

# The folder of a device, of LABEL=… or of UUID=…
folder_of() {
  while read -r device _ folder; do
    type='' uuid='' label=''
    [ ! -s "$folder.fs" ] || read -r type uuid label <"$folder.fs"
    case $1 in
    "$device" | "LABEL=$label" | "UUID=$uuid") [ "$1" != LABEL= ] && [ "$1" != UUID= ] && echo "$folder" && return 0 ;;
    esac
  done <"$table"
  return 1
}

# The first of the words that is a volume.
device=
for word; do
  if [ -z "$device" ] && folder=$(folder_of "$word"); then device=$word; fi
  last=$word
done
folder=$(folder_of "$device")
fs=$folder.fs

case $name in
lsblk)
  case " $* " in
  *" NAME,SERIAL "*)
    echo "/dev/nvme0n1 vol0000000000000root"
    while read -r device serial _; do echo "$device $serial"; done <"$table"
    exit 0
    ;;
  esac
  ;;
blkid)
  [ -n "$device" ] || real "$@"
  [ -s "$fs" ] || exit 2
  read -r type uuid label <"$fs"
  case " $* " in
  *" value "*" TYPE "*) echo "$type" ;;
  *" value "*" UUID "*) echo "$uuid" ;;
  *" value "*" LABEL "*) echo "$label" ;;
  *) echo "$device: LABEL=\"$label\" UUID=\"$uuid\" VERSION=\"1.0\" BLOCK_SIZE=\"4096\" TYPE=\"$type\" USAGE=\"filesystem\"" ;;
  esac
  exit 0
  ;;
mkfs.ext4)
  [ -n "$device" ] || real "$@"
  label=''
  while [ $# -gt 0 ]; do
    if [ "$1" = -L ]; then label=$2; fi
    shift
  done
  # A new file system is an empty one.
  find "$folder" -mindepth 1 -delete
  chmod 755 "$folder"
  mkdir -m 700 "$folder/lost+found"
  read -r uuid </proc/sys/kernel/random/uuid
  echo "ext4 $uuid $label" >"$fs"
  exit 0
  ;;
mount)
  if [ -n "$device" ] && [ "$last" != "$device" ]; then
    if [ ! -s "$fs" ]; then
      echo "mount: $last: wrong fs type, bad option, bad superblock on $device, missing codepage or helper program, or other error." >&2
      exit 32
    fi
    real --bind "$folder" "$last"
  fi
  ;;
esac
real "$@"
