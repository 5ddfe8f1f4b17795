#!/bin/sh
# The server by which nodes mount the head's folders, where the image has none.
set -eu
export PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive

die() {
  echo "error: $*" >&2
  exit 1
}

if ! command -v exportfs >/dev/null; then
  command -v apt-get >/dev/null || die "the image has no NFS server, and no apt-get: use one that has it"
  { apt-get -q update && apt-get -qy install --no-install-recommends nfs-kernel-server; } >&2 ||
    die "nfs-kernel-server cannot be installed: use an image that has it, or a subnet with a way to Debian's archive"
fi
if [ -d /run/systemd/system ]; then
  systemctl --quiet enable --now nfs-server.service >&2 || die "the NFS server does not start: journalctl -u nfs-server"
fi
