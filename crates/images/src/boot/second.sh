# The first program of a node, in its own root: network, disks, the order of its head, the agent. The
# node's end is the agent's.
boot=/opt/pcluster/boot/busybox
dir=/var/lib/pcluster-agent
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8

end() {
  echo "pcluster: $*"
  $boot sync
  # Words on their way to the console come before the end.
  $boot sleep 1
  $boot poweroff -f
}

told() {
  read -r line </proc/cmdline
  for word in $line; do
    case $word in "pcluster.$1="*) echo "${word#*=}" ;; esac
  done
}

$boot mkdir -p /dev/pts /dev/shm /dev/mqueue /run /tmp /var/tmp /root /etc /sys/fs/cgroup "$dir"
$boot mount -t devpts -o gid=5,mode=620,ptmxmode=666 pts /dev/pts
$boot mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
$boot mount -t tmpfs -o mode=755,nosuid,nodev run /run
$boot mount -t mqueue mqueue /dev/mqueue 2>/dev/null
$boot mount -t cgroup2 cgroup2 /sys/fs/cgroup
$boot ln -sfn /proc/self/fd /dev/fd
$boot ln -sfn pts/ptmx /dev/ptmx
$boot chmod 1777 /tmp /var/tmp

name=$(told name)
$boot hostname "$name"
echo "$name" >/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >/etc/hosts
dns=$(told dns)
if [ -n "$dns" ]; then echo "nameserver $dns" >/etc/resolv.conf; fi
$boot ip link set lo up
$boot ip link set eth0 up || end "there is no network card"
$boot ip addr add "$(told address)" dev eth0
gateway=$(told gateway)
if [ -n "$gateway" ]; then $boot ip route add default via "$gateway"; fi
echo "pcluster: network is up, $(told address)"

scratch=$(told scratch)
if [ -n "$scratch" ]; then
  $boot mount -t ext4 -o noatime,nosuid,nodev "/dev/$scratch" "$dir" || end "cannot mount /dev/$scratch"
  $boot rmdir "$dir/lost+found" 2>/dev/null
fi
# Users' private folders lie in it; its own files are closed to them.
$boot chmod 711 "$dir"
order=/sys/firmware/qemu_fw_cfg/by_name/opt/org.pcluster/join/raw
[ -e "$order" ] || end "this machine was given no order of a head"
(umask 077 && $boot cat "$order" >"$dir/join.json")

ulimit -Hn 1048576
echo "pcluster: starting the agent"
/opt/pcluster/bin/pcluster-agent machine "$dir"
end "the agent has ended with $?"
