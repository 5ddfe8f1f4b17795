#!/bin/sh
# Makes this machine a node of its cluster: the order of its head, the programs of a node, a unit that keeps
# them running. Ends the machine where that does not come about; what it says is on the console.
set -u
umask 077
export PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin} HOME=/root LANG=C.UTF-8
dir=/var/lib/pcluster-agent
bin=/opt/pcluster/bin

say() { echo "pcluster: $*"; }

end() {
  say "$*; this machine ends"
  sync
  # Words on their way to the console come before the end.
  sleep 2
  poweroff || shutdown -h now || halt -p
  exit 1
}

mkdir -p "$dir" "$bin" || end "there is no room for a node"
# Users' private folders lie in it; its own files are closed to them.
chmod 711 "$dir"
(
  sleep @PATIENCE@
  [ -e "$dir/started" ] || end "the agent was not started within @PATIENCE@ s"
) &

say "this machine becomes a node of cluster @NAME@"
cat >"$dir/boot.pem" <<'PCLUSTER'
@IDENTITY@
PCLUSTER
cat >"$dir/boot.json" <<'PCLUSTER'
@JOINS@
PCLUSTER
cat >"$dir/boot.py" <<'PCLUSTER'
@BOOT@
PCLUSTER
# Who runs user data is a Python program; its interpreter is there.
python=
for candidate in python3 /usr/libexec/platform-python /usr/local/bin/python3; do
  if command -v "$candidate" >/dev/null; then python=$candidate && break; fi
done
[ -n "$python" ] || end "there is no python3"
"$python" "$dir/boot.py" || end "the programs of a node cannot be had"
rm -f "$dir/boot.pem" "$dir/boot.json" "$dir/boot.py"
@SCRATCH@
agent=$(cat "$dir/agent-path")
"$agent" --version || end "$agent does not run here"
ulimit -Hn 1048576 2>/dev/null

if [ ! -d /run/systemd/system ]; then
  : >"$dir/started"
  say "starting $agent"
  "$agent" machine "$dir"
  end "the agent has ended with $?"
fi
cat >/etc/systemd/system/pcluster-agent.service <<UNIT
[Unit]
Description=Node of cluster @NAME@
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0
RequiresMountsFor=$dir/tmp

[Service]
ExecStart=$agent run $dir
Environment=HOME=/root LANG=C.UTF-8
Restart=always
RestartSec=1
# The agent is done: so is the machine. Jobs outlive an agent that ends in any other way.
RestartPreventExitStatus=40
SuccessExitStatus=40
ExecStopPost=/bin/sh -c 'if [ "\$\$EXIT_STATUS" = 40 ]; then systemctl --no-block poweroff; fi'
KillMode=process
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
OOMScoreAdjust=-500
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now --no-block pcluster-agent.service || end "the agent's unit cannot be started"
: >"$dir/started"
say "$agent is started"
