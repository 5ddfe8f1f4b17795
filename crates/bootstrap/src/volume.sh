#!/bin/sh
# Puts the head's volume to work, as root of the head's machine:
#
#   volume.sh VOLUME ACCOUNT [FOLDER...]
#
# A volume that has nothing on it gets a file system, one that has one keeps what it holds. It is mounted at
# /var/lib/pcluster (the head's state), and each FOLDER that the head shares is a folder of it, so that both outlive
# the machine. Run again it changes nothing. ACCOUNT keeps its key when /home comes from the volume.
set -eu

volume=$1 account=$2
shift 2
root=/var/lib/pcluster
kept=$root/shared.d

die() {
  echo "error: $*" >&2
  exit 1
}

# Nitro tells a volume's id as the serial number of its disk; before it, a disk has only the name it was given.
serial=$(printf %s "$volume" | tr -d -)
disk() {
  found=$(lsblk -dnpo NAME,SERIAL | awk -v serial="$serial" '$2 == serial { print $1; exit }')
  if [ -z "$found" ] && [ -b /dev/xvdf ]; then found=/dev/xvdf; fi
  printf %s "$found"
}

# A line of /etc/fstab, once.
at_boot() {
  grep -qxF "$1" /etc/fstab 2>/dev/null || printf '%s\n' "$1" >>/etc/fstab
}

if ! mountpoint -q "$root"; then
  turn=0
  while device=$(disk) && [ -z "$device" ]; do
    turn=$((turn + 1))
    [ "$turn" -le 90 ] || die "the disk of $volume does not appear on this machine"
    sleep 1
  done
  head -c 4194304 "$device" >/dev/null || die "$device ($volume) cannot be read"
  # Only what has never been written to is given a file system: a new volume is all zeros.
  if ! blkid -p "$device" >/dev/null 2>&1; then
    written=$(head -c 4194304 "$device" | tr -d '\0' | wc -c)
    [ "$written" -eq 0 ] || die "$device ($volume) holds something that is no file system, and stays as it is"
    mkfs.ext4 -q -L pcluster "$device" >&2 || die "no file system can be made on $device"
  fi
  mkdir -p "$root"
  mount "$device" "$root" || die "$device ($volume) cannot be mounted"
fi
at_boot "LABEL=pcluster $root ext4 defaults,nofail,x-systemd.device-timeout=90 0 2"
mkdir -p "$kept"

for folder in "$@"; do
  from=$kept$folder
  mkdir -p "$folder"
  # Folders of one file system are of one device.
  if [ "$(stat -c %d "$folder")" != "$(stat -c %d "$root")" ]; then
    if [ ! -d "$from" ]; then
      # What the image has there comes along; whole or not at all.
      rm -rf "$from.new"
      mkdir -p "${from%/*}"
      cp -a "$folder" "$from.new"
      # A new shared folder is everybody's, and what somebody puts there is theirs.
      [ "$folder" = /home ] || chmod 1777 "$from.new"
      mv "$from.new" "$from"
    elif [ "$folder" = /home ] && [ -d "$from/$account" ] && [ -f "/home/$account/.ssh/authorized_keys" ]; then
      # The key of today, into the home of before.
      # A home follows its account's number, whatever that is today.
      [ "$(stat -c %u "$from/$account")" = "$(id -u "$account")" ] || chown -R "$account:" "$from/$account"
      mkdir -p "$from/$account/.ssh"
      chmod 700 "$from/$account/.ssh"
      cp "/home/$account/.ssh/authorized_keys" "$from/$account/.ssh/"
      chown -R "$account:" "$from/$account/.ssh"
    elif [ "$folder" = /home ] && [ -d "/home/$account" ] && [ ! -d "$from/$account" ]; then
      cp -a "/home/$account" "$from/$account"
    fi
    mount --bind "$from" "$folder" || die "$folder cannot be mounted from the volume"
  fi
  at_boot "$from $folder none bind,nofail,x-systemd.requires-mounts-for=$root 0 0"
done

# Accounts whose homes are here and that a new machine does not know yet.
for home in /home/*/; do
  [ -d "$kept$home" ] || continue
  name=$(basename "$home")
  number=$(stat -c %u "$home")
  if [ "$number" -ge 1000 ] && ! getent passwd "$name" >/dev/null && ! getent passwd "$number" >/dev/null; then
    useradd -M -d "/home/$name" -s /bin/bash -u "$number" "$name" >&2 || echo "note: the account $name is not made" >&2
  fi
done
