#!/usr/bin/env python3
"""A bad day of another external provider: calls are slow, fail before or after they had their effect, lists lag.

    flaky-provider.py SEED FOLDER PROGRAM VERB      the request on standard input, as the program has it

What happens to the n-th call is drawn from the seed and n alone, so a bad day can be had again. FOLDER keeps
the number of calls and the list of before; FOLDER/calm, once it is there, ends the bad day. FOLDER/faults gets
a line for each fault. Want of capacity and quotas are no faults here: an offering rests for minutes then.
"""
import fcntl
import json
import random
import subprocess
import sys
import time
from pathlib import Path

seed, folder, program, verb = sys.argv[1:]
folder = Path(folder)
request = sys.stdin.read()


def counted():
    with open(folder / "calls", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        calls = int(file.read() or 0) + 1
        file.truncate(0)
        file.write(str(calls))
        return calls


def asked(text=request):
    done = subprocess.run([program, verb], input=text, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def error(name, message):
    return {"error": {"class": name, "message": message, "retry_after_ms": 200}}


def only_some():
    """A part of a batch is refused, and was never made."""
    wanted = json.loads(request)
    kept = [one for one in wanted["machines"] if not one["index"] % 2]
    answer = asked(json.dumps({**wanted, "machines": kept}))
    for one in wanted["machines"]:
        if one not in kept:
            answer["launched"].append({"index": one["index"], **error("rate_limited", "only some")})
    return answer


def lagging(answer):
    """The list of an earlier call: what is new is missing, what has ended runs."""
    old = folder / "list"
    told = json.loads(old.read_text()) if old.exists() else {"machines": []}
    old.write_text(json.dumps(answer))
    return told


def noted(answer):
    (folder / "list").write_text(json.dumps(answer))
    return answer


dice = random.Random(f"{seed} {counted()}")
fault = dice.choice({
    "launch": ["", "", "", "slow", "refused", "throttled", "lost", "hangs", "only some", "garbage"],
    "terminate": ["", "", "slow", "refused", "nothing", "lost"],
    "list": ["", "", "", "", "slow", "refused", "lags", "garbage"],
}.get(verb, [""]))
if (folder / "calm").exists():
    fault = ""
if fault:
    with open(folder / "faults", "a") as file:
        file.write(f"{verb} {fault}\n")
answer = {}
match fault:
    case "slow":
        time.sleep(dice.uniform(0.1, 1.0))
        answer = asked()
    case "refused":
        answer = error("unknown", "500 Internal Server Error")
    case "throttled":
        answer = error("rate_limited", "slow down")
    case "lost":
        # It happened, and nobody hears of it.
        asked()
        sys.exit("connection reset")
    case "hangs":
        # Longer than the head waits. Nobody ends the call of a head that was killed, so it ends itself.
        asked()
        time.sleep(8)
    case "nothing":
        answer = {}
    case "only some":
        answer = only_some()
    case "lags":
        answer = lagging(asked())
    case "garbage":
        asked()
        print("<html>503 Service Unavailable</html>", end="")
        sys.exit(0)
    case _:
        answer = noted(asked()) if verb == "list" else asked()
json.dump(answer, sys.stdout)
