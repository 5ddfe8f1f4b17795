#!/bin/sh
# poweroff, shutdown, halt, reboot and systemctl on a head's machine of the tests' cloud: all processes are asked to end,
# and process 1 ends the machine when they have.
case "${0##*/} $*" in
systemctl*poweroff* | systemctl*halt* | systemctl*reboot* | poweroff* | shutdown* | halt* | reboot*)
  kill -TERM -1
  kill -TERM 1
  ;;
*)
  echo "System has not been booted with systemd as init system (PID 1). Can't operate." >&2
  exit 1
  ;;
esac
