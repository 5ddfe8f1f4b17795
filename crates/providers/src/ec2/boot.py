"""Which machine of its launch this one is, and the programs of a node where the image has none."""
import hashlib
import http.client
import json
import os
import platform
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request

DIR = "/var/lib/pcluster-agent"
BIN = "/opt/pcluster/bin"
TRIES = 20


def say(words):
    print("pcluster: " + words, flush=True)


def patiently(what, act):
    """A machine's network comes in its own time."""
    for turn in range(TRIES):
        try:
            return act()
        except Exception as error:
            if turn == 0 or turn + 1 == TRIES:
                say("%s: %s" % (what, error))
            if turn + 1 == TRIES:
                sys.exit(1)
            time.sleep(min(1 + turn, 5))


def metadata(path):
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    base = base.rstrip("/") + "/latest/"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
    asked = urllib.request.Request(base + "api/token", method="PUT", headers=headers)
    token = opener.open(asked, timeout=5).read().decode()
    asked = urllib.request.Request(base + "meta-data/" + path, headers={"X-aws-ec2-metadata-token": token})
    return opener.open(asked, timeout=5).read().decode()


def fetch(join, program):
    """From any address of the head that has the pinned key; kept only with the hash of the order."""
    last = None
    for address in join["head_addresses"]:
        try:
            return fetch_from(address, join, program)
        except Exception as error:
            last = RuntimeError("the head at %s: %s" % (address, error))
    raise last or RuntimeError("no address of the head is known")


def fetch_from(address, join, program):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(DIR + "/boot.pem")
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPSConnection(host.strip("[]"), int(port), timeout=30, context=context)
    try:
        connection.connect()
        # Before a word of ours: names, dates and authorities say nothing here.
        if hashlib.sha256(connection.sock.getpeercert(True)).hexdigest() != join["head_key_sha256"]:
            raise RuntimeError("it is not the head of this cluster")
        headers = {"@NODE_HEADER@": join["node"], "@TOKEN_HEADER@": join["token"]}
        connection.request("GET", "@PROGRAMS@" + program["sha256"], headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError("it answers %d" % answer.status)
        path, total, count = os.path.join(BIN, program["name"]), hashlib.sha256(), 0
        with open(path + ".new", "wb") as out:
            while count <= program["bytes"]:
                piece = answer.read(262144)
                if not piece:
                    break
                count += len(piece)
                total.update(piece)
                out.write(piece)
        if count != program["bytes"] or total.hexdigest() != program["sha256"]:
            raise RuntimeError("what it sent is not %s" % program["name"])
        os.chmod(path + ".new", 0o755)
        os.rename(path + ".new", path)
    finally:
        connection.close()


def write(path, text):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text)


def main():
    with open(DIR + "/boot.json") as file:
        orders = json.load(file)
    index = int(patiently("the metadata of this machine", lambda: metadata("ami-launch-index")))
    join = dict(orders["common"], instance=metadata("instance-id"), **orders["own"][index])
    write(DIR + "/join.json", json.dumps(join))
    say("it is %s (%s), %s" % (join["node_name"], join["node"], join["instance"]))
    if subprocess.call(["hostname", join["node_name"]]) == 0:
        with open("/etc/hostname", "w") as file:
            file.write(join["node_name"] + "\n")
    os.chmod("/opt/pcluster", 0o755)
    os.chmod(BIN, 0o755)
    agent = next(filter(None, map(shutil.which, [BIN + "/pcluster-agent", "pcluster-agent"])), None)
    if agent:
        say("the image has an agent, %s" % agent)
    else:
        machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine(), platform.machine())
        offered = [one for one in join.get("programs", []) if one["arch"] == machine]
        if not offered:
            say("the head has no programs for %s" % machine)
            sys.exit(1)
        for program in offered[0]["files"]:
            say("taking %s %s from the head" % (program["name"], offered[0]["version"]))
            patiently(program["name"], lambda: fetch(join, program))
        agent = BIN + "/pcluster-agent"
    write(DIR + "/agent-path", agent)


main()
