"""The objects of OCSF that an event about a host call is made of: files, endpoints, the process, proofs.

Which class has which of them is `ocsf_events.py`. Values that differ from row to row are marks. INVARIANT:
an object holds what a record says and nothing guessed; a required field that no record knows says so.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import TypeAlias

import orjson

from audit.columns import Masked
from audit.export.evidence import ALGORITHM, origin_of
from audit.export.lines import Value, mark

Object: TypeAlias = "dict[str, object]"

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})\Z")
_ENDPOINT = re.compile(r"\[?([0-9A-Fa-f:.]{2,45})\]?:([0-9]{1,5})(?:/([a-z0-9]{1,16}))?\Z")

_FOLDERS = frozenset({"path_create_directory", "path_remove_directory", "fd_readdir"})
_LINKS = frozenset({"path_symlink", "path_readlink"})


def filled(*parts: str) -> orjson.Fragment:
    """Give a text of marks and constants; the constants are ours, and need no escape."""
    return orjson.Fragment('"' + "".join(parts) + '"')


def number(name: str) -> orjson.Fragment:
    """Give a number that differs from row to row."""
    return orjson.Fragment(mark(name))


def guest_process(exec_id: str, module: Value) -> Object:
    """The guest: its execution, and the module that ran. `exec_id` is the name of a mark."""
    name = str(module)
    file: Object = {"name": name, "uid": name, "type_id": 8, "type": "Executable File"}
    digest = _SHA256.match(name)
    if digest:
        file["hashes"] = [
            {
                "algorithm_id": 3,
                "algorithm": "SHA-256",
                "encoding_id": 1,
                "encoding": "Hex",
                "value": digest[1],
            }
        ]
    return {"uid": filled(mark(exec_id)), "sandbox": "wasmgate", "file": file}


def touched_file(call: str, *, has_path: bool) -> Object:
    """The file that a call was about; a call on a descriptor that nobody opened names none."""
    if call in _FOLDERS:
        kind: Object = {"type_id": 2, "type": "Folder"}
    elif call in _LINKS:
        kind = {"type_id": 7, "type": "Symbolic Link"}
    else:
        kind = {"type_id": 0, "type": "Unknown"}
    if not has_path:
        return {"name": "unknown", **kind}
    return {"name": filled(mark("name")), "path": filled(mark("path")), **kind}


def resulting_file() -> Object:
    """What a rename or a link led to."""
    return {"name": filled(mark("name2")), "path": filled(mark("target2")), "type_id": 0, "type": "Unknown"}


def peer(address: Value) -> tuple[Object | None, Object | None]:
    """The endpoint that a target `address:port/protocol` names, and what is known of the connection."""
    if not isinstance(address, str):
        return None, None
    match = _ENDPOINT.match(address)
    if match is None or int(match[2]) > 0xFFFF:
        return {"hostname": address}, None
    try:
        found = ipaddress.ip_address(match[1])
    except ValueError:
        return {"hostname": address}, None
    endpoint: Object = {"ip": str(found), "port": int(match[2])}
    version: Object = {"protocol_ver_id": found.version, "direction_id": 0, "direction": "Unknown"}
    return endpoint, version if match[3] is None else {"protocol_name": match[3], **version}


def labels(masked: Value) -> list[str]:
    """Say which columns the policy had blotted out."""
    bits = masked if isinstance(masked, int) else 0
    return [f"masked.{name.lower()}" for name, bit in Masked.__members__.items() if bits & bit]


def attestation(checkpoint: str | None, exec_id: str) -> Object:
    """What proves the record: the leaf of its chunk, and the checkpoint that the log was signed with.

    The signature is not over this event but over the tree that holds the chunk: so the serialisation is
    named as one of our own, and the digest is that of the checkpoint, whose text is in the manifest.
    """
    origin = origin_of(checkpoint)
    found: Object = {
        "chain_uid": filled("" if origin is None else _inner(origin) + "/", mark(exec_id)),
        "fingerprint": {
            "algorithm_id": 3,
            "algorithm": "SHA-256",
            "encoding_id": 1,
            "encoding": "Hex",
            "serialization_id": 99,
            "serialization": ALGORITHM,
            "value": filled(mark("chunk")),
        },
    }
    if checkpoint is not None:
        found["authority_uid"] = origin
        found["signatures"] = [_signature(checkpoint)]
    return found


def _signature(checkpoint: str) -> Object:
    digest = hashlib.sha256(checkpoint.encode()).hexdigest()
    return {
        "algorithm_id": 99,
        "algorithm": "Ed25519",
        "serialization_id": 99,
        "serialization": "c2sp.org/tlog-checkpoint",
        "digest": {
            "algorithm_id": 3,
            "algorithm": "SHA-256",
            "encoding_id": 1,
            "encoding": "Hex",
            "serialization_id": 1,
            "serialization": "Flat",
            "value": digest,
        },
    }


def _inner(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]
