# Scratch of jobs on disks of their own, where the agent makes their private folders. $scratch is `store` (those
# of the machine itself) or `volume` (the one of $gib GiB that came with it); $dir, say and end are given.
# shellcheck disable=SC2154 # by the script that this becomes a part of

# Whole disks of this kind with nothing on them, the largest first.
blank() {
  for block in /sys/block/nvme* /sys/block/xvd* /sys/block/sd* /sys/block/vd*; do
    name=${block##*/}
    [ -b "/dev/$name" ] || continue
    sectors=$(cat "$block/size")
    model=$(cat "$block/device/model" 2>/dev/null)
    case $scratch:$model in
      store:*"Instance Storage"*) ;;
      volume:*"Elastic Block Store"* | volume:) [ "$sectors" -eq $((gib * 2097152)) ] || continue ;;
      *) continue ;;
    esac
    # With a part or a file system it is somebody's: the system's own.
    [ "$(echo "$block/$name"*)" = "$block/$name*" ] || continue
    code=0
    blkid -p "/dev/$name" >/dev/null 2>&1 || code=$?
    [ "$code" -ne 2 ] || echo "$sectors $name"
  done | sort -rn | cut -d' ' -f2
}

if ! grep -q " $dir/tmp " /proc/mounts; then
  turn=0
  until [ -n "$(blank)" ]; do
    turn=$((turn + 1))
    [ "$turn" -lt "${wait_s:-60}" ] || end "the $scratch for scratch is not there"
    sleep 1
  done
  # shellcheck disable=SC2046 # names of disks are words
  set -- $(blank)
  disk=/dev/$1
  if [ "$scratch" = store ] && [ $# -gt 1 ] && command -v mdadm >/dev/null; then
    # Striped where the image can; the first alone is as large as was asked for.
    # shellcheck disable=SC2046
    mdadm --create /dev/md/pcluster --run --level=0 --raid-devices=$# $(printf '/dev/%s ' "$@") && disk=/dev/md/pcluster
  fi
  # It goes with the machine: no journal, and nothing kept for root.
  mkfs.ext4 -q -F -L pcluster-scratch -m 0 -O ^has_journal,^resize_inode -E nodiscard "$disk" || end "$disk cannot be used for scratch"
  mkdir -p "$dir/tmp"
  mount -o noatime,nosuid,nodev "$disk" "$dir/tmp" || end "$disk cannot be mounted for scratch"
  rmdir "$dir/tmp/lost+found"
  echo "LABEL=pcluster-scratch $dir/tmp ext4 noatime,nosuid,nodev,nofail 0 0" >>/etc/fstab
  say "scratch is on $disk"
fi
