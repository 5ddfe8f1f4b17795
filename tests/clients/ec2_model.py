"""Holds calls against the published model of EC2, as botocore has it.

`problems(action, asked)` says in words what is wrong with the parameters of a Query call: names that the service does
not know, values of another type, words that are none of the allowed ones, required parameters that are missing. `Refused` is a no in the words of the service.
"""
import base64
import binascii
import re
from functools import lru_cache

from botocore.loaders import Loader
from botocore.model import ServiceModel

class Refused(Exception):
    def __init__(self, code, message, status=400):
        super().__init__(message)
        self.code, self.message, self.status = code, message, status

    def answer(self):
        error = "".join(f"<{tag}>{text}</{tag}>" for tag, text in (("Code", self.code), ("Message", self.message)))
        text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>cloud</RequestID></Response>"
        return self.status, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


# The protocol's own.
PROTOCOL = {"Action", "Version"}


@lru_cache(maxsize=1)
def service():
    return ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")


def wire_name(name, shape):
    """How a member is called in a request of the protocol `ec2`."""
    query = shape.serialization.get("queryName")
    located = shape.serialization.get("name")
    return query or (located[0].upper() + located[1:] if located else name)


@lru_cache(maxsize=None)
def members(shape):
    return {wire_name(name, member): member for name, member in shape.members.items()}


def leaf(shape, value):
    kind = shape.type_name
    if kind in ("integer", "long") and not re.fullmatch(r"-?\d+", value):
        return "is no number"
    if kind in ("float", "double") and not re.fullmatch(r"-?\d+(\.\d+)?", value):
        return "is no number"
    if kind == "boolean" and value not in ("true", "false"):
        return "is neither true nor false"
    if kind == "blob":
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            return "is not base64"
    # Which types there are the service says itself: new ones come before the model that names them.
    if kind == "string" and shape.enum and shape.name != "InstanceType" and value not in shape.enum:
        return f"is none of {', '.join(shape.enum)}"
    if kind in ("structure", "list", "map"):
        return "is not a value"
    return None


def walk(shape, path, value, at=""):
    """What is wrong with one parameter."""
    if not path:
        wrong = leaf(shape, value)
        return f"{at} {wrong}: {value!r}" if wrong else None
    step, rest = path[0], path[1:]
    here = f"{at}.{step}" if at else step
    if shape.type_name == "list":
        if not re.fullmatch(r"[1-9]\d*", step):
            return f"{here}: a list is numbered from 1"
        return walk(shape.member, rest, value, here)
    if shape.type_name == "structure":
        member = members(shape).get(step)
        if member is None:
            return f"{here} is no parameter; there are {', '.join(sorted(members(shape)))}"
        return walk(member, rest, value, here)
    return f"{here} is more than a value"


def missing(shape, asked, at=""):
    """Required members of every structure that is there at all."""
    if shape.type_name == "list":
        numbers = {key[len(at) + 1:].split(".")[0] for key in asked if key.startswith(at + ".")}
        for number in sorted(numbers):
            yield from missing(shape.member, asked, f"{at}.{number}")
    if shape.type_name != "structure":
        return
    for name, member in members(shape).items():
        here = f"{at}.{name}" if at else name
        is_there = any(key == here or key.startswith(here + ".") for key in asked)
        if is_there:
            yield from missing(member, asked, here)
        elif any(name == wire_name(one, shape.members[one]) for one in shape.required_members):
            yield f"{here} is missing"


def problems(action, asked):
    model = service()
    if action not in model.operation_names:
        return [f"{action} is no action of EC2"]
    if asked.get("Version") != model.api_version:
        return [f"version {asked.get('Version')} is not {model.api_version}"]
    shape = model.operation_model(action).input_shape
    given = {key: value for key, value in asked.items() if key not in PROTOCOL}
    if shape is None:
        return [f"{action} takes no parameters"] if given else []
    found = [walk(shape, key.split("."), value) for key, value in given.items()]
    return [one for one in found if one] + list(missing(shape, given))
