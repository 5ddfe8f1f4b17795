#!/bin/sh
# Becomes COMMAND as a machine of its own on the network: a namespace with one address, a name, and
# a hosts file. `[process] launcher` of tests/src/net.rs, which removes what is made here.
#
#   netns.sh BRIDGE NET HOSTS NODE COMMAND...    NET: the first three numbers of the addresses
set -eu
bridge=$1 net=$2 hosts=$3 node=$4
shift 4
number=${node##*-}
space=$bridge-$number
ip netns add "$space"
ip link add "$space" type veth peer name eth0 netns "$space"
ip link set "$space" master "$bridge" up
ip -n "$space" addr add "$net.$((number % 200 + 10))/24" dev eth0
ip -n "$space" link set eth0 up
ip -n "$space" link set lo up
# Not `ip netns exec`, which hides the control groups. Each of these becomes the next: one process.
exec nsenter --net="/run/netns/$space" -- unshare --uts --mount -- sh -c \
  'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"' "$node" "$hosts" "$@"
