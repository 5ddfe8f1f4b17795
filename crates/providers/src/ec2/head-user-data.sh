#!/bin/sh
# Makes this machine ready for the head of a cluster: the account that puts the head there, and the machine's own
# SSH keys on its console, where whoever made the machine reads which are the right ones. It holds no secret.
set -u
umask 022
export PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin} HOME=/root LANG=C.UTF-8
account='@ACCOUNT@'
key='@KEY@'

# What user data say does not reach the console in every image.
tell() {
  if [ -w /dev/console ]; then echo "$*" >>/dev/console; else echo "$*"; fi
}

fail() {
  tell "pcluster head failed: $*"
  exit 1
}

tell "pcluster: this machine is made ready for the head of cluster @NAME@"
home=/home/$account
if ! id "$account" >/dev/null 2>&1; then
  if [ -d "$home" ]; then
    # What lies there stays that account's.
    useradd -M -s /bin/bash -u "$(stat -c %u "$home")" "$account" || useradd -M -s /bin/bash "$account"
  else
    # Of the same number on every machine: the home on the volume outlives this one.
    useradd -m -s /bin/bash -u 1500 "$account" || useradd -m -s /bin/bash "$account"
  fi || fail "account $account cannot be made"
fi
# No password, and no locked account either, which some servers let in with no key.
usermod -p '*' "$account" || fail "the password of $account cannot be taken away"
home=$(getent passwd "$account" | cut -d: -f6)
mkdir -p "$home/.ssh" || fail "$home cannot be written"
keys=$home/.ssh/authorized_keys
grep -qxF "$key" "$keys" 2>/dev/null || printf '%s\n' "$key" >>"$keys" || fail "$keys cannot be written"
chmod 700 "$home/.ssh" && chmod 600 "$keys"
chown -R "$account:" "$home/.ssh" || fail "$keys cannot be given to $account"

command -v sudo >/dev/null || fail "the image has no sudo"
rule=/etc/sudoers.d/90-pcluster
if ! { printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$account" >"$rule" && chmod 440 "$rule"; }; then
  fail "$rule cannot be written"
fi

ssh-keygen -A >/dev/null || fail "the machine's SSH keys cannot be made"
if [ -d /run/systemd/system ]; then
  systemctl start ssh.service 2>/dev/null || systemctl start sshd.service || fail "the SSH server does not start"
elif ! { [ -s /run/sshd.pid ] && kill -0 "$(cat /run/sshd.pid)" 2>/dev/null; }; then
  mkdir -p /run/sshd
  "$(command -v sshd || echo /usr/sbin/sshd)" || fail "the SSH server does not start"
fi
for file in /etc/ssh/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_*_key.pub; do
  [ -s "$file" ] || continue
  read -r kind text _ <"$file"
  tell "pcluster host key: $kind $text"
done
tell "pcluster: this machine is ready for a head"
