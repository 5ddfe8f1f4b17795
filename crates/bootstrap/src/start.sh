#!/bin/sh
# Starts the head whose programs and file are in place, as root of its machine:
#
#   start.sh NAME
#
# Ends when the head answers, or says why it does not.
set -eu

name=$1
bin=/opt/pcluster/bin
file=/etc/pcluster/$name/cluster.toml
pcluster() { "$bin/pcluster" --config "$file" "$@"; }

die() {
  echo "error: $*" >&2
  exit 1
}

"$bin/pcluster" version >/dev/null || die "pcluster's programs do not run on this machine: they were built for another system"

# The Slurm names, and all commands in the reach of who logs in.
mkdir -p "$bin/slurm"
ln -sfn ../pcluster "$bin/slurm/pcluster"
"$bin/pcluster" internal-names | while read -r command; do ln -sfn pcluster "$bin/slurm/$command"; done
cat >/etc/profile.d/pcluster.sh <<PROFILE
PATH=$bin:$bin/slurm:\$PATH
PCLUSTER_CLUSTER=$name
export PATH PCLUSTER_CLUSTER
PROFILE

if [ ! -d /run/systemd/system ]; then
  # Without an init that keeps services, the head keeps itself in the background.
  pcluster up
  exit 0
fi
# Never without the volume: on the machine's own disk there is no state of this cluster.
sed -e "s|^ExecStart=.*|ExecStart=$bin/pcluster-headnode --config $file --foreground|" \
  -e "s|^\[Unit\]\$|[Unit]\nRequiresMountsFor=/var/lib/pcluster|" "$bin/pcluster-headnode.service" \
  >/etc/systemd/system/pcluster-headnode.service
systemctl daemon-reload
systemctl --quiet enable pcluster-headnode
systemctl restart pcluster-headnode
turn=0
while true; do
  code=0
  pcluster status >/dev/null 2>&1 || code=$?
  # 1: it answers, and something needs attention.
  [ "$code" -gt 1 ] || exit 0
  turn=$((turn + 1))
  if [ "$turn" -gt 30 ] || [ "$(systemctl is-failed pcluster-headnode)" = failed ]; then
    journalctl --no-pager --quiet --output cat --lines 12 --unit pcluster-headnode >&2 || true
    die "the head does not come up"
  fi
  sleep 1
done
