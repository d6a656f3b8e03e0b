"""A naive second opinion on whole documents: files, the network and models in one, with boundaries and time.

Files are judged in `oracle.py`, connections and requests in `oracle_network.py`; this file adds models, what a
boundary never leaves of the network, and what has started. It shares no code with the package that it checks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from tests import oracle, oracle_network

Document = dict[str, Any]

REACH = {
    "http": "network.http",
    "resolve": "network.dns",
    "listen": "network.listen",
    "bind": "network.listen",
    "load_model": "nn",
}
FINAL = {"builtin", "boundary"}


class Asked(Protocol):
    """What is asked of the network or about models."""

    call: str
    protocol: Any
    host: str | None
    address: str | None
    port: int | None
    method: str | None
    url: str | None
    digest: str | None


@dataclass(frozen=True)
class Opinion:
    """Whether it is allowed; else whether it is refused in every mode, and by which rules."""

    is_allowed: bool
    is_final: bool
    deciders: frozenset[str]


def denied_later(document: Document, started: frozenset[str]) -> dict[str, set[str]]:
    """What each rule over time that has started refuses from then on."""
    return {
        rule["id"]: set(rule["then"].get("deny", [])) for rule in document["rules"] if rule["id"] in started
    }


def nn(document: Document, digest: str) -> oracle_network.Opinion:
    """Whether a model with this digest may be loaded."""
    models = document["permissions"].get("nn", {}).get("models", [])
    is_listed = any(model["digest"] == digest for model in models)
    return oracle_network.Opinion(is_listed, "allow" if is_listed else "default", frozenset())


def with_ceilings(document: Document, boundaries: tuple[Document, ...]) -> Document:
    """The document with what boundaries never grant of the network as its first denials."""
    never = [
        {"id": "ceiling.network.never", "to": place}
        for each in boundaries
        for place in each["ceiling"]["network"]["never"]
    ]
    network = document["permissions"]["network"]
    changed = network | {"deny": [*never, *network["deny"]]}
    return document | {"permissions": document["permissions"] | {"network": changed}}


def network(
    document: Document, boundaries: tuple[Document, ...], asked: Asked, started: frozenset[str]
) -> Opinion:
    """What must hold for a question about the network or a model."""
    found = timeless(with_ceilings(document, boundaries), asked)
    if "ceiling.network.never" in found.deciders and found.stage == "deny":
        found = replace(found, stage="boundary", deciders=frozenset({"ceiling.network.never"}))
    reach = REACH.get(asked.call) or f"network.{asked.protocol}"
    later = {
        name
        for name, denied in denied_later(document, started).items()
        if reach in denied or ("network" in denied and reach != "nn")
    }
    if later and found.stage in {"allow", "default"}:
        return Opinion(is_allowed=False, is_final=False, deciders=frozenset(later))
    return Opinion(found.is_allowed, found.stage in FINAL, found.deciders)


def timeless(document: Document, asked: Asked) -> oracle_network.Opinion:
    match asked.call:
        case "connect":
            where = asked.address, asked.host
            return oracle_network.connect(document, asked.protocol, where, asked.port or 0)
        case "http":
            return oracle_network.http(document, str(asked.method), str(asked.url), asked.address)
        case "resolve":
            return oracle_network.resolve(document, str(asked.host))
        case "load_model":
            return nn(document, str(asked.digest))
        case _:
            return oracle_network.listen(document, asked.protocol, str(asked.address), asked.port or 0)


def storage(
    document: Document,
    boundaries: tuple[Document, ...],
    asked: tuple[str, list[str], str],
    started: frozenset[str],
) -> Opinion:
    """What must hold for a right at a path below the mount that the guest finds there."""
    guest, path, right = asked
    around = [{"id": "ceiling.storage", **each["ceiling"]["storage"]} for each in boundaries]
    later = [
        {"id": name, "denies": [each for each in oracle.RIGHTS if denied & {"storage", f"storage.{each}"}]}
        for name, denied in denied_later(document, started).items()
    ]
    timed = document | {"rules": later}
    found = oracle.opinion(timed, guest, path, right, boundaries=around, started=started)
    is_final = bool(found.deciders & {"builtin", "ceiling.storage"})
    return Opinion(found.is_allowed, is_final, found.deciders)
