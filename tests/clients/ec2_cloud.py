#!/usr/bin/env python3
"""A cloud on loopback: moto's EC2 behind a layer that has the moods of the real one, and boots machines.

    ec2_cloud.py FOLDER [--no-boot]

Prints `{"port": N}` and serves until its standard input ends; then every machine ends, too. Runs in the
environment `scripts/clients path moto`. What moto itself lacks and this adds:

- a call is held against the published model of EC2 (ec2_model.py), and refused if it is not like it;
- a client token is remembered: the same request again has the same answer, another one is refused;
- capacity, quota, throttling, server errors, lost and torn answers, and lists that lag, on request;
- an instance **boots** (ec2_machine.py), at an address of its own on loopback: its user data runs as root of a container
  with processes, /etc, /run, /var/lib and /opt of its own and the files and network of this machine. Where its tags say
  that it is a head, it is a machine to log in to: SSH, `sudo`, /home, and volumes as disks (ec2_volumes.py). Its metadata (IMDSv2 only, as instances are told
  to) is at $AWS_EC2_METADATA_SERVICE_ENDPOINT; `poweroff` there ends the container, and with it the instance;
- spot notices, rebalance hints, silent reclaims, power cuts;
- a meter: when each instance was launched and ended, in whole seconds, as EC2 bills.

The other side of it is HTTP below /_cloud/ on the same port, JSON in and out:

    GET  facts                      {"subnets": {ID: ZONE}, "images": {NAME: ID}}
    GET  meter                      [{"instance", "type", "spot", "subnet", "launched", "ended" or null, "off", "token", "index"}]
    GET  volumes                    [{"volume", "gib", "zone", "created", "deleted" or null}]
    GET  calls                      {ACTION: COUNT}
    POST faults    [FAULT...]       in front of every call from now on; an empty list clears all
    POST lag       {"ms": N}        lists do not show what is younger; calls do not know it
    POST end       {"instance", "how"}   how: power_cut (dead, and nobody says so), silent or notice (reclaimed
                                    at once, or after "seconds"), rebalance (a hint only)

A FAULT: {"action": A, "kind": K, "times": N (default 1, -1 for ever), "skip": N, "match": {PARAMETER: VALUE}} with
K = error ("code", "message", "status"), capacity ("left": machines that there still are), slow ("ms"), before (the
connection ends and nothing was done), lost (it was done, and the answer is lost), torn (half an answer).
All calls are written down in FOLDER/calls.jsonl, machines have FOLDER/i-…/console.log.
"""
import base64
import json
import os
import sys
import threading
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import ec2_model
from ec2_machine import HeadMachine, Machine
from ec2_model import Refused
from ec2_volumes import Volumes

FOLDER = Path(sys.argv[1]).absolute()
BOOTS = "--no-boot" not in sys.argv
REGION = "us-east-1"
ACCOUNT = "123456789012"
DEBIAN = "136693071363"
IMAGES = [
    ("ami-0000000000000a11d", "debian-12-amd64-20260901-2222", "x86_64", DEBIAN, "2026-09-01T00:00:00.000Z"),
    ("ami-0000000000000b22d", "debian-12-amd64-20261101-2283", "x86_64", DEBIAN, "2026-11-01T00:00:00.000Z"),
    ("ami-0000000000000c33d", "debian-12-arm64-20261101-2283", "aarch64", DEBIAN, "2026-11-01T00:00:00.000Z"),
    ("ami-0000000000000d44d", "lab-genomics", "x86_64", ACCOUNT, "2026-11-02T00:00:00.000Z"),
]
# Instance profiles that the account has, each with a role of its name.
PROFILES = ("pcluster-head",)
NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"
# What differs between two sends of the same request.
UNSIGNED = {"Version", "AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp"}


def moto_app():
    """moto reads its settings when it is imported."""
    arch = {"aarch64": "arm64"}
    amis = [
        {"ami_id": ami, "name": name, "description": name, "owner_id": owner, "public": True,
         "virtualization_type": "hvm", "architecture": arch.get(machine, machine), "state": "available",
         "platform": None, "image_type": "machine", "hypervisor": "xen", "root_device_name": "/dev/xvda",
         "root_device_type": "ebs", "sriov": "simple", "creation_date": created,
         "image_location": f"{owner}/{name}"}
        for ami, name, machine, owner, created in IMAGES
    ]
    path = FOLDER / "amis.json"
    path.write_text(json.dumps(amis))
    os.environ.update(MOTO_AMIS_PATH=str(path), MOTO_ENABLE_AMI_VALIDATION="true",
                      MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION="true", MOTO_ACCOUNT_ID=ACCOUNT)
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.test import Client
    return Client(DomainDispatcherApplication(create_backend_app))


class Gone(Exception):
    """The connection ends without an answer."""


class Torn(Exception):
    """It ends in the middle of one."""


class Cloud(Volumes):
    region = REGION
    folder = FOLDER

    def __init__(self):
        self.lock = threading.RLock()
        self.starter = ThreadPoolExecutor(max_workers=1)
        self.moto = moto_app()
        from moto.ec2.models import ec2_backends
        from moto.iam.models import iam_backends
        self.backend = ec2_backends[ACCOUNT][REGION]
        for role in PROFILES:
            iam_backends[ACCOUNT]["aws"].create_instance_profile(name=role, path="/", role_names=[], tags=[])
        self.port = None
        self.volumes = {}
        self.machines, self.meter, self.tokens, self.groups = {}, {}, {}, {}
        self.faults, self.calls, self.lag_s = [], {}, 0.0
        self.addresses = 0
        self.log = open(FOLDER / "calls.jsonl", "a")
        self.spot_prices = {}

    # What happens to a call.

    def call(self, headers, body):
        asked = dict(parse_qsl(body.decode(), keep_blank_values=True))
        action = asked.get("Action", "")
        with self.lock:
            self.calls[action] = self.calls.get(action, 0) + 1
            faults = self.take_faults(action, asked)
        status = 0
        try:
            status, text = self.answered(faults, action, asked, headers, body)
        except Refused as refused:
            status, text = refused.answer()
        finally:
            with self.lock:
                self.log.write(json.dumps({"at": time.time(), "action": action, "asked": asked, "status": status}) + "\n")
                self.log.flush()
        kinds = {fault["kind"] for fault in faults}
        if "lost" in kinds:
            raise Gone
        if "torn" in kinds:
            raise Torn(text)
        return status, text

    def take_faults(self, action, asked):
        taken = []
        for fault in self.faults:
            wanted = fault.get("match", {})
            if fault["action"] not in ("*", action) or fault.get("times", 1) == 0:
                continue
            if any(asked.get(name) != value for name, value in wanted.items()):
                continue
            if fault.get("skip", 0) > 0:
                fault["skip"] -= 1
                continue
            if fault["kind"] != "capacity":
                fault["times"] = fault.get("times", 1) - (fault.get("times", 1) > 0)
            taken.append(fault)
        return taken

    def answered(self, faults, action, asked, headers, body):
        if wrong := ec2_model.problems(action, asked):
            raise Refused("UnknownParameter", "; ".join(wrong))
        for fault in faults:
            if fault["kind"] == "slow":
                time.sleep(fault["ms"] / 1000)
            if fault["kind"] == "before":
                raise Gone
            if fault["kind"] == "error":
                raise Refused(fault["code"], fault.get("message", fault["code"]), fault.get("status", 400))
        own = getattr(self, "on_" + action, None)
        with self.lock:
            if own:
                return own(asked, headers, body, faults)
            return self.ask_moto(headers, body)

    def ask_moto(self, headers, body):
        kept = {name: value for name, value in headers.items() if name.lower() not in ("host", "content-length")}
        kept["Host"] = f"ec2.{REGION}.amazonaws.com"
        answer = self.moto.post("/", data=body, headers=kept)
        return answer.status_code, answer.data

    # Calls with more to them than moto knows.

    def on_RunInstances(self, asked, headers, body, faults):
        token, profile = asked.get("ClientToken"), asked.get("IamInstanceProfile.Name")
        if before := self.answered_before("RunInstances", asked):
            made = [item.text for item in ET.fromstring(before[1]).iter(f"{{{NAMESPACE}}}instanceId")]
            if all(self.meter[name]["ended"] for name in made):
                raise Refused("IdempotentInstanceTerminated",
                              "The request to launch an instance uses the same client token as a previous request for "
                              "which the instance has been terminated.")
            return before
        if profile and profile not in PROFILES:
            raise Refused("InvalidParameterValue", f"Value ({profile}) for parameter iamInstanceProfile.name is "
                          "invalid. Invalid IAM Instance Profile name")
        if len(base64.b64decode(asked.get("UserData", ""))) > 16384:
            raise Refused("InvalidParameterValue", "User data is limited to 16384 bytes")
        count, least = int(asked["MaxCount"]), int(asked["MinCount"])
        if asked.get("DryRun") != "true":
            count = self.granted(asked, count, least, faults)
        # moto makes as many as the least that is asked for.
        text = "&".join(f"{name}={value}" for name, value in parse_pairs(body) if name not in ("MinCount", "MaxCount"))
        status, answer = self.ask_moto(headers, f"{text}&MinCount={count}&MaxCount={count}".encode())
        if status != 200:
            return status, answer
        if token and asked.get("DryRun") != "true":
            self.remember("RunInstances", asked, (status, answer))
        # This one answer has moto's address of each machine, which is nobody's: files exported to it go nowhere.
        for item in ET.fromstring(answer).iter(f"{{{NAMESPACE}}}instanceId"):
            self.started(self.backend.get_instance(item.text), asked)
        return status, answer

    def answered_before(self, action, asked):
        """The answer that a client token already had."""
        token = action, asked.get("ClientToken")
        plain = {name: value for name, value in asked.items() if name not in UNSIGNED}
        before, answer = self.tokens.get(token, (plain, None))
        if before != plain:
            raise Refused("IdempotentParameterMismatch",
                          "The request uses the same client token as a previous, but non-identical request.")
        return answer

    def remember(self, action, asked, answer):
        plain = {name: value for name, value in asked.items() if name not in UNSIGNED}
        self.tokens[action, asked["ClientToken"]] = plain, answer

    def next_address(self):
        """Its own on loopback, unlike those of another cloud beside this one."""
        self.addresses += 1
        return f"127.{self.port >> 8}.{self.port & 255}.{1 + self.addresses % 254}"

    def granted(self, asked, count, least, faults):
        for fault in faults:
            if fault["kind"] == "capacity":
                count = min(count, fault["left"])
                if count < least:
                    raise Refused("InsufficientInstanceCapacity",
                                  f"We currently do not have sufficient {asked.get('InstanceType')} capacity in the "
                                  "Availability Zone you requested.", 500)
                fault["left"] -= count
        return count

    def started(self, instance, asked):
        # The time that the answer has: lists and the meter say the same.
        from datetime import datetime, timezone
        now = int(instance.launch_time.replace(tzinfo=timezone.utc).timestamp())
        instance.launch_time = datetime.fromtimestamp(now, timezone.utc)
        spot = asked.get("InstanceMarketOptions.MarketType") == "spot"
        instance.lifecycle = "spot" if spot else None
        data = base64.b64decode(asked.get("UserData", ""))
        is_head = {tag["key"]: tag["value"] for tag in instance.get_tags()}.get("pcluster:role") == "head"
        machine = (HeadMachine(self, instance, data, asked.get("IamInstanceProfile.Name")) if is_head
                   else Machine(self, instance, data))
        self.machines[instance.id] = machine
        card = instance.nics[0]
        card.private_ip_address = machine.address
        for one in card.private_ip_addresses:
            one["PrivateIpAddress"] = machine.address
        card.public_ip = card.public_ip and machine.address
        self.meter[instance.id] = {"instance": instance.id, "type": instance.instance_type, "spot": spot,
                                   "subnet": instance.subnet_id, "launched": now, "ended": None, "off": False,
                                   "token": asked.get("ClientToken"), "index": instance.ami_launch_index}
        if BOOTS:
            machine.boot()

    def on_TerminateInstances(self, asked, headers, body, _faults):
        ids = [value for name, value in asked.items() if name.startswith("InstanceId.")]
        self.must_know(ids)
        status, answer = self.ask_moto(headers, body)
        if status == 200:
            for name in ids:
                self.ended(self.machines[name], "Client.UserInitiatedShutdown", "User initiated shutdown")
        return status, answer

    def on_DescribeInstances(self, asked, headers, body, _faults):
        self.must_know(value for name, value in asked.items() if name.startswith("InstanceId."))
        status, answer = self.ask_moto(headers, body)
        hidden = self.hidden()
        if status != 200 or not hidden:
            return status, answer
        ET.register_namespace("", NAMESPACE)
        tree = ET.fromstring(answer)
        for items in tree.iter(f"{{{NAMESPACE}}}instancesSet"):
            for item in list(items):
                if item.findtext(f"{{{NAMESPACE}}}instanceId") in hidden:
                    items.remove(item)
        return status, ET.tostring(tree)

    def hidden(self):
        now = time.time()
        return {name for name, span in self.meter.items() if now - span["launched"] < self.lag_s}

    def must_know(self, names):
        for name in names:
            if name in self.hidden() or name not in self.machines:
                raise Refused("InvalidInstanceID.NotFound", f"The instance ID '{name}' does not exist")

    def on_GetConsoleOutput(self, asked, _headers, _body, _faults):
        self.must_know([asked["InstanceId"]])
        text = base64.b64encode(self.machines[asked["InstanceId"]].console()).decode()
        return self.own("GetConsoleOutput", f"<instanceId>{asked['InstanceId']}</instanceId><output>{text}</output>")

    def on_DescribeInstanceTypes(self, _asked, headers, body, _faults):
        """moto knows the disks of types and does not tell of them."""
        from moto.ec2.models.instance_types import INSTANCE_TYPES
        status, answer = self.ask_moto(headers, body)
        if status != 200:
            return status, answer
        ET.register_namespace("", NAMESPACE)
        tree = ET.fromstring(answer)
        for item in tree.iter(f"{{{NAMESPACE}}}item"):
            name = item.findtext(f"{{{NAMESPACE}}}instanceType")
            if store := INSTANCE_TYPES.get(name, {}).get("InstanceStorageInfo"):
                disks = "".join(f"<item><sizeInGB>{disk['SizeInGB']}</sizeInGB><count>{disk['Count']}</count></item>"
                                for disk in store["Disks"])
                item.append(ET.fromstring(
                    f'<instanceStorageInfo xmlns="{NAMESPACE}"><totalSizeInGB>{store["TotalSizeInGB"]}</totalSizeInGB>'
                    f"<disks>{disks}</disks><nvmeSupport>{store.get('NvmeSupport', 'unsupported')}</nvmeSupport></instanceStorageInfo>"))
        return status, ET.tostring(tree)

    def on_DescribeSpotPriceHistory(self, asked, headers, body, _faults):
        status, answer = self.ask_moto(headers, body)
        ET.register_namespace("", NAMESPACE)
        tree = ET.fromstring(answer)
        for item in tree.iter(f"{{{NAMESPACE}}}item"):
            price = item.find(f"{{{NAMESPACE}}}spotPrice")
            if price is not None:
                price.text = self.spot_prices.get(item.findtext(f"{{{NAMESPACE}}}instanceType"), "0.250000")
        return status, ET.tostring(tree)

    def on_DeleteSecurityGroup(self, asked, headers, body, _faults):
        group = asked.get("GroupId")
        members = (name for name, machine in self.machines.items() if not self.meter[name]["off"]
                   and any(one.id == group for one in machine.instance.security_groups))
        if asked.get("DryRun") != "true" and next(members, None):
            raise Refused("DependencyViolation", f"resource {group} has a dependent object")
        return self.ask_moto(headers, body)

    # moto has no placement groups.

    def on_CreatePlacementGroup(self, asked, *_):
        name = asked["GroupName"]
        if name in self.groups:
            raise Refused("InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists.")
        tags = [(asked[key], asked.get(key[:-3] + "Value", "")) for key in asked
                if key.startswith("TagSpecification.1.Tag.") and key.endswith(".Key")]
        self.groups[name] = {"strategy": asked.get("Strategy", "cluster"), "tags": tags}
        return self.own("CreatePlacementGroup", f"<return>true</return>{self.group(name)}")

    def on_DescribePlacementGroups(self, asked, *_):
        wanted = dict(filters(asked))
        names = [value for key, value in asked.items() if key.startswith("GroupName.")]
        for name in names:
            if name not in self.groups:
                raise Refused("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
        def fits(name, group):
            tags = dict(group["tags"])
            return all(tags.get(key[4:]) in values for key, values in wanted.items() if key.startswith("tag:"))
        shown = [name for name, group in self.groups.items() if (not names or name in names) and fits(name, group)]
        items = "".join(f"<item>{self.inside(name)}</item>" for name in shown)
        return self.own("DescribePlacementGroups", f"<placementGroupSet>{items}</placementGroupSet>")

    def on_DeletePlacementGroup(self, asked, *_):
        if self.groups.pop(asked["GroupName"], None) is None:
            raise Refused("InvalidPlacementGroup.Unknown", f"The Placement Group '{asked['GroupName']}' is unknown.")
        return self.own("DeletePlacementGroup", "<return>true</return>")

    def inside(self, name):
        group = self.groups[name]
        tags = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in group["tags"])
        return (f"<groupName>{name}</groupName><strategy>{group['strategy']}</strategy><state>available</state>"
                f"<groupId>pg-{abs(hash(name)):017x}</groupId><tagSet>{tags}</tagSet>")

    def group(self, name):
        return f"<placementGroup>{self.inside(name)}</placementGroup>"

    @staticmethod
    def own(action, text):
        return 200, (f'<?xml version="1.0" encoding="UTF-8"?>\n<{action}Response xmlns="{NAMESPACE}">'
                     f"<requestId>cloud</requestId>{text}</{action}Response>").encode()

    # Ends.

    def ended(self, machine, code, words, gently=True):
        """The instance's end as EC2 tells it: the meter stops, and it is terminated when the computer is off."""
        span, instance = self.meter[machine.id], machine.instance
        if first := span["ended"] is None:
            span["ended"] = int(time.time())
            machine.end_code, machine.end_words = code, words
            if instance.state != "terminated":
                instance.terminate()
        # Ended again, moto would give it another time and state.
        code, words = machine.end_code, machine.end_words
        when = time.strftime("%Y-%m-%d %H:%M:%S GMT", time.gmtime(span["ended"]))
        who = {"Client.UserInitiatedShutdown": "User initiated"}.get(code, code)
        instance._reason = f"{who} ({when})"
        instance.state_reason.code, instance.state_reason.message = code, f"{code}: {words}"
        if not span["off"]:
            instance._state.name, instance._state.code = "shutting-down", 32
        if first:
            threading.Thread(target=self.shut_down, args=(machine, gently), daemon=True).start()

    def shut_down(self, machine, gently):
        machine.end(gently)
        with self.lock:
            self.meter[machine.id]["off"] = True
            machine.instance._state.name, machine.instance._state.code = "terminated", 48

    def end(self, asked):
        machine = self.machines[asked["instance"]]
        if asked["how"] == "power_cut":
            machine.is_hung = True
            machine.end(False)
        elif asked["how"] == "rebalance":
            machine.hint = time.time()
        else:
            wait = float(asked.get("seconds", 0))
            if asked["how"] == "notice":
                machine.notice = time.time() + wait
            def reclaim():
                with self.lock:
                    self.ended(machine, "Server.SpotInstanceTermination", "Spot instance termination", gently=False)
            timer = threading.Timer(wait, reclaim)
            timer.daemon = True
            timer.start()
        return {}

    def ask(self, verb, given):
        """The other side of the cloud."""
        with self.lock:
            if verb == "facts":
                subnets = {subnet.id: subnet.availability_zone for subnet in self.backend.describe_subnets()}
                return {"subnets": subnets, "images": {name: ami for ami, name, *_ in IMAGES},
                        "groups": sorted(group.name for group in self.backend.describe_security_groups()),
                        "placement_groups": sorted(self.groups)}
            if verb == "meter":
                return list(self.meter.values())
            if verb == "volumes":
                return list(self.volumes.values())
            if verb == "calls":
                return self.calls
            if verb == "faults":
                self.faults = given
            elif verb == "lag":
                self.lag_s = given["ms"] / 1000
            elif verb == "spot_prices":
                self.spot_prices = given
            elif verb == "end":
                return self.end(given)
            else:
                return None
            return {}

    def close(self):
        with self.lock:
            machines = list(self.machines.values())
        for machine in machines:
            machine.is_hung = True
            machine.end(False)


def parse_pairs(body):
    return [pair.partition("=")[::2] for pair in body.decode().split("&")]


def filters(asked):
    for key, name in asked.items():
        if key.startswith("Filter.") and key.endswith(".Name"):
            start = key[:-4] + "Value."
            yield name, [value for other, value in asked.items() if other.startswith(start)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud = None

    def log_message(self, *_):
        pass

    def say(self, status, data, kind="text/xml;charset=UTF-8"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def hang_up(self, data=b""):
        if data:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data) * 2))
            self.end_headers()
            self.wfile.write(data)
        self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if path.startswith("/_cloud/"):
            return self.other_side(path, json.loads(body or b"null"))
        try:
            self.say(*self.cloud.call(self.headers, body))
        except Gone:
            self.hang_up()
        except Torn as torn:
            self.hang_up(torn.args[0][: len(torn.args[0]) // 2])

    def other_side(self, path, given):
        said = self.cloud.ask(path.removeprefix("/_cloud/"), given)
        self.say(404 if said is None else 200, json.dumps(said).encode(), "application/json")

    def do_GET(self):
        path = urlsplit(self.path).path
        if path.startswith("/_cloud/"):
            return self.other_side(path, None)
        machine, rest = self.imds(path)
        if machine and self.headers.get("X-aws-ec2-metadata-token") not in machine.tokens:
            return self.say(401, b"Unauthorized", "text/plain")
        value = machine and machine.metadata(rest)
        self.say(200 if value else 404, (value or "Not Found").encode(), "text/plain")

    def do_PUT(self):
        machine, rest = self.imds(urlsplit(self.path).path)
        if not machine or rest != "api/token" or "X-aws-ec2-metadata-token-ttl-seconds" not in self.headers:
            return self.say(400, b"Bad Request", "text/plain")
        token = base64.b64encode(os.urandom(24)).decode()
        machine.tokens.add(token)
        self.say(200, token.encode(), "text/plain")

    def imds(self, path):
        name, _, rest = path.removeprefix("/_imds/").partition("/latest/")
        return self.cloud.machines.get(name) if path.startswith("/_imds/") else None, rest


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *request):
        # Whoever asked was killed meanwhile; everything else is worth a word.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*request)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    cloud = Handler.cloud = Cloud()
    server = Server(("127.0.0.1", 0), Handler)
    cloud.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": cloud.port}), flush=True)
    try:
        sys.stdin.read()
    finally:
        cloud.close()


main()
