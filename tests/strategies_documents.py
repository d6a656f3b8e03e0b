"""Random documents with every section, the baselines and boundaries that they stand among, and questions about them.

Storage comes from `strategies.py`, the network from `strategies_network.py`; this file joins them and adds the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, get_args

from hypothesis import strategies as st

from policy.bundle import Bundle, make_bundle
from policy.document import PolicyDocument, load_any
from policy.plan import RIGHTS, Right
from policy.question import Question
from policy.schema_temporal import Denial
from tests.oracle import RIGHTS as RIGHT_NAMES
from tests.strategies import NEVER, allow_rules, deny_rules, globs, segments
from tests.strategies_network import network_documents
from tests.strategies_network import questions as network_questions

Document = dict[str, Any]

DIGESTS = tuple(f"sha256:{char * 64}" for char in "abc")
LIMITS = {
    "memory": ("1Mi", "64Mi"), "cpu": ("1s", "5s"), "timeout": ("2s", "unlimited"), "fuel": ("1k", "2G", "unlimited"),
    "module": ("1Mi", "2Mi"), "compile": ("1s", "30s"), "stack": ("64Ki", "1Mi"), "tables": ("1", "4"), "table_elements": ("7", "10k"),
    "instances": ("1", "8"), "memories": ("1", "2"), "stdout": ("1Ki", "1Mi"), "stderr": ("0", "256Ki"), "disk": ("0", "16Mi"),
    "files": ("0", "256"), "open_files": ("1", "64"), "connections": ("0", "4"), "net_in": ("0", "8Mi"), "net_out": ("1Gi", "8Mi"),
    "host_calls": ("9", "1M"),
}  # fmt: skip
TERMS: dict[str, tuple[Any, ...]] = {
    "max_request_bytes": ("1", "unlimited"), "max_response_bytes": ("2",), "redirects": ("recheck", "refuse"),
    "headers": ({"deny": ["Cookie"]},), "credential": ({"from": "secret://s", "as": "header:Authorization"},),
}  # fmt: skip
DENIALS: tuple[str, ...] = get_args(Denial)
WATCHED_HOSTS = ("*", "x", "*.a.x", "10.0.0.0/8")


@dataclass(frozen=True)
class Family:
    """A policy and the documents around it, as plain values."""

    document: Document
    baselines: tuple[Document, ...] = ()
    boundaries: tuple[Document, ...] = ()

    def loaded(self) -> PolicyDocument:
        return loaded(self.document)

    def bundle(self) -> Bundle:
        return make_bundle([load_any(json.dumps(each).encode(), file="o.yaml") for each in self.others])

    @property
    def others(self) -> tuple[Document, ...]:
        return (*self.baselines, *self.boundaries)


def loaded(document: Document) -> PolicyDocument:
    found = load_any(json.dumps(document).encode(), file="p.yaml")
    if not isinstance(found, PolicyDocument):
        raise TypeError(found)
    return found


def chosen(words: dict[str, tuple[Any, ...]]) -> st.SearchStrategy[Document]:
    """Some of the keys, each with one of its values."""
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in words.items()})


def renamed(rules: list[Document], prefix: str) -> list[Document]:
    return [rule | {"id": f"{prefix}{rule['id']}"} for rule in rules]


@st.composite
def storage_sections(draw: st.DrawFn, prefix: str = "", most: int = 3) -> Document:
    allow = [draw(allow_rules(index)) for index in range(draw(st.integers(0, most)))]
    budgets = chosen({"max_bytes": ("0", "1k", "unlimited"), "max_files": ("0", "3")})
    allow = [rule | draw(budgets) for rule in allow]
    deny = [draw(deny_rules(index)) for index in range(draw(st.integers(0, 2)))]
    return {"allow": renamed(allow, prefix), "deny": renamed(deny, prefix)}


@st.composite
def network_sections(draw: st.DrawFn, prefix: str = "net-") -> Document:
    network: Document = draw(network_documents())["permissions"]["network"]
    for key in ("tcp", "udp", "http", "deny"):
        network[key] = renamed(network[key], prefix)
    network["http"] = [rule | draw(chosen(TERMS)) for rule in network["http"]]
    network["dns"] |= draw(chosen({"max_queries": ("1", "32"), "pin": (True, False)}))
    return network


@st.composite
def nn_sections(draw: st.DrawFn) -> Document:
    digests = draw(st.lists(st.sampled_from(DIGESTS), max_size=2, unique=True))
    models = [{"name": "m", "digest": digest, "backend": "onnx"} for digest in digests]
    return {"models": models} | draw(chosen({"max_calls": ("1", "unlimited"), "max_tensor_bytes": ("1Ki",)}))


@st.composite
def environments(draw: st.DrawFn) -> Document:
    keys = draw(st.lists(st.sampled_from("ABC"), max_size=2, unique=True))
    values = st.sampled_from(({}, {"value": "1"}, {"value": ""}, {"from": "secret://a"}))
    return {"allow": [{"key": key} | draw(values) for key in keys]}


@st.composite
def temporal_rules(draw: st.DrawFn, name: str) -> Document:
    root = draw(st.sampled_from(("fs://", "fs:///srv", "fs:///srv/m", "tmp://s")))
    place = f"{root}/{draw(globs())}"
    watched = draw(st.sampled_from((*WATCHED_HOSTS, place)))
    budget = {"over": draw(st.sampled_from(("0", "1k")))} | draw(chosen({"window": ("run", "1s")}))
    when = draw(
        st.sampled_from((
            {"opened": place},
            {"opened": place},
            {"bytes_in": {"from": watched} | budget},
            {"bytes_out": {"to": watched} | budget},
            {"calls": {"to": watched} | budget},
        ))
    )  # fmt: skip
    then: Document = {"deny": draw(st.lists(st.sampled_from(DENIALS), min_size=1, max_size=3, unique=True))}
    then |= draw(chosen({"raise": ("finding/low", "finding/high"), "for": ("run",)}))
    return {"id": name, "when": when, "then": then}


@st.composite
def rules(draw: st.DrawFn, prefix: str = "later", most: int = 2) -> list[Document]:
    return [draw(temporal_rules(f"{prefix}{index}")) for index in range(draw(st.integers(0, most)))]


def audits() -> st.SearchStrategy[Document]:
    return chosen({
        "level": ("calls", "summary", "counts"), "payload": ("none", "digest", "full"), "mask": ("default", ["default", "json:/a"]),
        "sync": ("batch", "deny", "all"), "on_full": ("kill", "block", "block:1s"), "timestamps": ("auto", "exact", "coarse"),
        "retain": ("30d", "90d"), "rules": ([], [{"call": "fd_*", "level": "counts"}]),
    })  # fmt: skip


@st.composite
def permissions(draw: st.DrawFn) -> Document:
    return {
        "storage": draw(storage_sections()),
        "network": draw(network_sections()),
        "nn": draw(nn_sections()),
        "environment": draw(environments()),
        "stdio": draw(chosen({"stdin": ("none", "inherit", "caller"), "stdout": ("none", "capture"), "stderr": ("inherit",)})),
        "clocks": draw(chosen({"wall": ("real", "none", "frozen:2026-01-01T00:00:00Z"), "monotonic": ("none", "frozen:5s"), "resolution": ("1us", "1ms")})),
        **draw(chosen({
            "args": (["-a"], ["-a", "b"]), "extra_args": (True, False), "random": ("real", "none", "seeded:00ff"),
            "host_functions": ([], [{"name": "env/*", "args": ["1"]}]),
        })),
    }  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A policy with something in each section."""
    return {
        "version": 1,
        "metadata": {"name": "random", "labels": {"a": "b"}},
        "match": draw(chosen({"name": ("demo*", ["a", "b"]), "digest": DIGESTS, "tenant": ("acme", ["a*"]), "signer": ("key:a",)})),
        "mode": draw(st.sampled_from(("enforce", "enforce", "audit", "learn"))),
        "permissions": draw(permissions()),
        "rules": draw(rules()),
        "resources": {"limits": draw(chosen(LIMITS))},
        "runtime": draw(chosen({"abi": ("auto", "wasi-0.2"), "engine": ("cranelift", "pulley"), "isolation": ("process", "confined", "in-process"), "deterministic": (True, False), "cache": (True, False)})),
        "audit": draw(audits()),
        "when_unenforceable": draw(st.sampled_from(("refuse", "warn"))),
    }  # fmt: skip


@st.composite
def baselines(draw: st.DrawFn, name: str) -> Document:
    """A baseline with rules of all kinds; values that are no lists stand in the first one only."""
    network = draw(network_sections(f"{name}-net-"))
    kept = {key: network[key] for key in ("tcp", "http", "deny")}
    found: Document = {
        "version": 1,
        "kind": "Baseline",
        "metadata": {"name": name},
        "permissions": {"storage": draw(storage_sections(f"{name}-", most=1)), "network": kept},
        "rules": draw(rules(f"{name}-later", most=1)),
    }
    if name == "base0":
        found["resources"] = {"limits": draw(chosen(LIMITS))}
        found["permissions"]["environment"] = draw(environments())
    return found


@st.composite
def boundaries(draw: st.DrawFn, name: str) -> Document:
    """A boundary that most documents lie in, though it takes something from their grants."""
    storage = {
        "roots": draw(st.sampled_from((["fs:///**", "tmp://**"], ["fs:///**", "tmp://s"]))),
        "access": list(RIGHT_NAMES),
        "never": draw(st.lists(st.sampled_from(NEVER), max_size=2, unique=True)),
    }
    network = {
        "schemes": ["tcp", "udp", "http", "https"],
        "ports": ["*"],
        "never": draw(st.lists(st.sampled_from(("z", "c.b.a.x", "9.9.9.9", "11.0.0.0/8")), max_size=1)),
        "private": "allow",
        "listen": "any",
    }
    ceiling = {
        "storage": storage,
        "network": network,
        "limits": draw(chosen({"memory": ("1Gi",), "unlimited": ("allowed",)})),
    }
    return {"version": 1, "kind": "Boundary", "metadata": {"name": name}, "ceiling": ceiling}  # fmt: skip


@st.composite
def families(draw: st.DrawFn) -> Family:
    """A policy with its baselines and boundaries."""
    parents = [draw(baselines(f"base{index}")) for index in range(draw(st.integers(0, 2)))]
    around = [draw(boundaries(f"c{index}")) for index in range(draw(st.integers(0, 2)))]
    extends = {"extends": [each["metadata"]["name"] for each in parents]} if parents else {}
    return Family(draw(documents()) | extends, tuple(parents), tuple(around))


def merged(family: Family) -> Document:
    """The policy with the lists of its baselines behind its own, as a reader would write it without them."""
    found: Document = json.loads(json.dumps(family.document))
    for parent in family.baselines:
        one, other = found["permissions"], parent["permissions"]
        for section in ("storage", "network"):
            for key, items in other[section].items():
                one[section][key] = [*one[section].get(key, []), *items]
        found["rules"] = [*found["rules"], *parent["rules"]]
    return found


@st.composite
def path_questions(draw: st.DrawFn, guests: list[str]) -> tuple[str, list[str], str]:
    """A guest path of a mount, a path below it, and a right."""
    return draw(st.sampled_from(guests)), list[str](draw(segments)), str(draw(st.sampled_from(RIGHT_NAMES)))


PREFIXES = (
    "fs:///srv",
    "fs:///srv/m",
    "fs:///srv/m/a",
    "fs:///home/b",
    "fs:///etc",
    "tmp://s",
    "/srv/m",
    "/scratch",
    "/home",
)
WANTS = (*RIGHTS, Right.READ | Right.WRITE, Right.CREATE | Right.DELETE, None)


@st.composite
def storage_questions(draw: st.DrawFn) -> Question:
    """A question about one path, a stream, a clock or random bytes."""
    call = draw(st.sampled_from(("path_open", "path_open", "path_open", "path_filestat_get", "path_unlink_file", "path_symlink", "fd_write", "fd_readdir", "clock_time_get", "random_get")))  # fmt: skip
    if call in {"clock_time_get", "random_get"}:
        return Question(call=call, target=draw(st.sampled_from(("wall", "monotonic"))))
    streams = ("stdin", "stdout", "stderr") if call == "fd_write" else ()
    target = "/".join([draw(st.sampled_from(PREFIXES)), *draw(segments)])
    target = draw(st.sampled_from((*streams, target, target, target)))
    return Question(
        call=call, target=target, wants=draw(st.sampled_from(WANTS)) if call == "path_open" else None
    )


def questions() -> st.SearchStrategy[Question]:
    """A question of any kind about one target."""
    models = st.sampled_from(DIGESTS).map(lambda digest: Question(call="load_model", digest=digest))
    return st.one_of(
        storage_questions(), storage_questions(), network_questions(), network_questions(), models
    )
