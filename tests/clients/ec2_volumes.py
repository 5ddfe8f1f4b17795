"""Volumes of the cloud on loopback: folders that outlive machines, and what EC2 refuses about them.

moto has volumes and lets anybody have any of them: here one is of one zone and of one machine at a time, and free only
when the computer that had it is off. What is on a volume lies in FOLDER/volumes/vol-…, what file system it has in the
file vol-….fs beside it.
"""
import shutil
import time
import xml.etree.ElementTree as ET

from ec2_model import Refused


class Volumes:
    """A part of the cloud: calls about volumes."""

    def on_CreateVolume(self, asked, headers, body, _faults):
        if before := self.answered_before("CreateVolume", asked):
            return before
        status, answer = self.ask_moto(headers, body)
        if status == 200:
            if asked.get("ClientToken"):
                self.remember("CreateVolume", asked, (status, answer))
            name = next(item.text for item in ET.fromstring(answer).iter() if item.tag.endswith("}volumeId"))
            (self.folder / "volumes" / name).mkdir(parents=True)
            self.volumes[name] = {"volume": name, "gib": int(asked["Size"]), "zone": asked["AvailabilityZone"],
                                  "created": int(time.time()), "deleted": None}
        return status, answer

    def holder(self, name):
        """The machine that has it, or had it and is not off yet."""
        for machine in self.machines.values():
            if name in getattr(machine, "disks", []) and not self.meter[machine.id]["off"]:
                return machine.id

    def on_AttachVolume(self, asked, headers, body, _faults):
        name, machine = asked["VolumeId"], asked["InstanceId"]
        if asked.get("DryRun") == "true":
            return self.ask_moto(headers, body)
        self.must_know([machine])
        volume, instance = self.backend.get_volume(name), self.backend.get_instance(machine)
        if self.holder(name):
            raise Refused("VolumeInUse", f"{name} is already attached to an instance")
        if instance.state != "running":
            raise Refused("IncorrectState", f"Instance '{machine}' is not 'running'.")
        if volume.zone.name != instance.placement.zone:
            raise Refused("InvalidVolume.ZoneMismatch",
                        f"The volume '{name}' is not in the same availability zone as instance '{machine}'")
        status, answer = self.ask_moto(headers, body)
        if status == 200 and name in self.volumes:
            self.machines[machine].attach(name, self.folder / "volumes" / name)
        return status, answer

    def on_DeleteVolume(self, asked, headers, body, _faults):
        name = asked["VolumeId"]
        if asked.get("DryRun") != "true" and (holder := self.holder(name)):
            raise Refused("VolumeInUse", f"Volume {name} is currently attached to {holder}")
        status, answer = self.ask_moto(headers, body)
        if status == 200 and name in self.volumes:
            self.volumes[name]["deleted"] = int(time.time())
            shutil.rmtree(self.folder / "volumes" / name)
            (self.folder / "volumes" / f"{name}.fs").unlink(missing_ok=True)
        return status, answer
