#!/bin/busybox sh
# The first program of a node: loads what the kernel needs, finds the node's root and goes there.
# Words of the kernel's command line that begin with `pcluster.` say what this node is.
/bin/busybox mkdir -p /proc /sys /dev /node
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1

die() {
  echo "pcluster: $*"
  sleep 1
  poweroff -f
}

told() {
  read -r line </proc/cmdline
  for word in $line; do
    case $word in "pcluster.$1="*) echo "${word#*=}" ;; esac
  done
}

if [ -n "$(told probe)" ]; then
  echo "pcluster: this kernel boots"
  poweroff -f
fi
echo "pcluster: kernel $(uname -r) is up"
while read -r module; do
  insmod "/modules/$module.ko" || echo "pcluster: module $module is not loaded"
done </modules/order

root=$(told root)
if [ -n "$root" ]; then
  mount -t ext4 -o noatime "/dev/$root" /node || die "cannot mount the image's disk /dev/$root"
  mkdir -p /node/opt/pcluster /node/proc /node/sys /node/dev
  mount -t tmpfs -o mode=755 programs /node/opt/pcluster
  cp -a /opt/pcluster/. /node/opt/pcluster/ || die "no room for the agent"
else
  mount -t tmpfs -o mode=755,size=90% root /node
  mkdir -p /node/proc /node/sys /node/dev
  for part in bin etc lib lib64 opt usr; do
    if [ -e "/$part" ]; then cp -a "/$part" /node/ || die "no room for the system"; fi
  done
  ln -s bin /node/sbin
fi
for part in dev proc sys; do mount --move "/$part" "/node/$part"; done
# If this fails the kernel ends the machine, and says so.
exec switch_root /node /opt/pcluster/boot/busybox sh /opt/pcluster/boot/second
