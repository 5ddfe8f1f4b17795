#!/bin/sh
# ec2_head_boot.sh FOLDER NAME: process 1 of a head's machine of the tests' cloud, in namespaces of its own. It gives the
# machine its folders and devices, starts what an image starts, runs the user data, and stays until it is told to end.
set -eu
folder=$1
echo "$2" >/proc/sys/kernel/hostname
cd "$folder"

mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
  : >"dev/$name"
  mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm
mount --bind /dev/pts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
for pair in fd: stdin:/0 stdout:/1 stderr:/2; do ln -s "/proc/self/fd${pair#*:}" "dev/${pair%%:*}"; done
# Disks that may be attached: loop devices that no machine has, so nobody can open them.
for number in 1 2 3 4; do mknod "dev/nvme${number}n1" b 7 "$((1048320 + number))"; done
: >dev/console
mount --bind console.log dev/console
mount --bind etc /etc
mount --bind lib /var/lib
mount --bind home /home
for name in run opt srv; do mount -t tmpfs -o mode=755 tmpfs "/$name"; done
mount --rbind dev /dev
cd /

over=
trap 'over=yes' TERM
mkdir /run/sshd
ssh-keygen -A >/dev/null
/usr/sbin/sshd || echo "the SSH server has ended with $?"
"$folder/user-data" &
data=$!
wait "$data" || echo "the user data have ended with $?"
# To wait is to bury whoever has no parent any more.
while [ -z "$over" ]; do
  sleep 1 &
  wait $! || true
done
# Everybody was asked to end; who has not within 10 s is killed with this process.
turn=0
while set -- /proc/[0-9]* && [ $# -gt 1 ] && [ $turn -lt 100 ]; do
  sleep 0.1
  turn=$((turn + 1))
done
