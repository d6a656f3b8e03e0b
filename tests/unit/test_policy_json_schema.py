"""The JSON Schema of policy documents: it takes and refuses the documents that the loader does."""

from __future__ import annotations

import json
import re
import unicodedata
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.cli import wasmgate
from policy import PolicyError, fields, schema_boundary, schema_network, schema_temporal, schema_test
from policy.document import MODELS, load_any
from policy.json_schema import DIALECT, UNSEEN, models, policy_schema
from policy.places import Plain
from policy.shapes.shape import Shape, numbers
from tests.editor import is_plainly_spelt, read, resolved
from tests.everything import BASELINE, CEILING, EVERYTHING, TESTS
from tests.strategies import storage_documents

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "policies/policy.schema.json"
SCHEMA: dict[str, Any] = dict(policy_schema())
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA)
CORPUS = sorted([*(ROOT / "policies").rglob("*.yaml"), *(ROOT / "tests/golden/learned").glob("*.yaml")])


def refused(text: str) -> set[str]:
    """The ids of what the loader finds wrong; empty when it takes the document."""
    try:
        load_any(text.encode(), file="x.yaml")
    except PolicyError as err:
        return {finding.id for finding in err.findings}
    return set()


SPELT = {"wrong-type", "bad-name", "bad-id", "bad-header"}
"""Of the table, what only an odd spelling leads to, such as `1.0` or `+1`, which no JSON has."""


def agree(text: str, seen: Any) -> None:
    """Say that the schema takes what the loader takes, and refuses what it refuses but for the table."""
    found = refused(text)
    if not found:
        assert VALIDATOR.is_valid(seen), [error.message for error in VALIDATOR.iter_errors(seen)]
    elif VALIDATOR.is_valid(seen):
        assert found <= (set(UNSEEN) - SPELT if text.startswith("{") else set(UNSEEN))


def test_the_file_in_policies_is_current():
    printed = CliRunner().invoke(wasmgate, ["policy", "schema"], standalone_mode=False).output
    assert json.loads(printed) == SCHEMA
    assert FILE.read_text(encoding="utf-8") == printed, "wasmgate policy schema > policies/policy.schema.json"


def test_the_schema_is_one_of_its_draft():
    assert SCHEMA["$schema"] == DIALECT
    jsonschema_rs.meta.validate(SCHEMA)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_that_are_shipped_are_taken_and_refused_alike(path):
    text = path.read_text(encoding="utf-8")
    agree(text, read(text))


@pytest.mark.parametrize("text", [EVERYTHING, CEILING, TESTS, BASELINE], ids=MODELS)
def test_a_document_with_every_field_is_taken_by_both(text):
    assert refused(text) == set()
    agree(text, read(text))


@pytest.mark.parametrize("kind", MODELS)
def test_the_documents_with_every_field_have_every_field(kind):
    text = {"ModulePolicy": EVERYTHING, "Boundary": CEILING, "PolicyTest": TESTS, "Baseline": BASELINE}[kind]
    assert kind == "Baseline" or set(MODELS[kind].model_fields) <= set(read(text))


@given(storage_documents())
def test_random_policies_are_taken_by_both(document):
    agree(json.dumps(document), document)


# --- mutations -------------------------------------------------------------------------------------

BASES = [read(text) for text in (EVERYTHING, CEILING, TESTS, BASELINE)]
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, -1, 443, 65_536, 5_000, 1.5, "", "a", "A/b", "..", "*", "**", "0", "007", "1", "443", "yes", "true",
    "unlimited", "64Mi", "1Ki", "64MB", "10s", "5", "1500us", "1us", "1h", "24h", "90d", "25h", "block", "block:1s", "kill",
    "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01", "real", "none", "frozen:1s", "frozen:x", "seeded:0", "seeded:00",
    "fs:///a", "fs:///a/**", "fs:./a", "tmp://x", "tmp://X", "/a", "/a/", "a/**", "[z-a]", "[a-z]", "${tenant}", "fs:///${run.id}/x", "fs:///${x}",
    "a.example", "*.example", "a..b", "10.0.0.1", "10.0.0.1/8", "10.0.0.0/8", "::1", "::/0", "1.2.3", "https://a.example", "https://*", "https://*:443",
    "https://a.example/x", "ftp://a", "tcp://127.0.0.1:0", "tcp://a:1", "8000-8010", "8010-8000", "GET", "get", "TRACE", "secret://x", "secret://", "header:A",
    "header:", "sha256:" + "a" * 64, "sha256:A", "storage", "network", "x=y", "enforce", "Baseline", "a\0b", "e\u0301", [], {}, ["a"], [1], {"a": 1},
]  # fmt: skip
KEYS = sorted(
    {field.alias or name for model in models() for name, field in model.model_fields.items()} | {"x", "<<"}
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(*path, step) for step, _ in steps] + [
        place for step, each in steps for place in _places(each, (*path, step))
    ]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A document with a few values dropped, renamed, or replaced."""
    document: dict[str, Any] = deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        parent: Any = document
        for step in above:
            parent = parent[step]
        match draw(st.sampled_from(("drop", "rename", "replace", "replace", "replace"))):
            case "drop":
                parent.pop(last)
            case "rename" if isinstance(parent, dict):
                parent[draw(st.sampled_from(KEYS))] = parent.pop(last)
            case _:
                parent[last] = deepcopy(draw(st.sampled_from(VALUES)))
    return document


@given(mutated())
@settings(max_examples=250)
def test_mutated_documents_are_taken_and_refused_alike(document):
    agree(json.dumps(document, ensure_ascii=False), document)


@pytest.mark.slow
@given(mutated())
@settings(max_examples=20_000, suppress_health_check=[HealthCheck.too_slow])
def test_many_mutated_documents_are_taken_and_refused_alike(document):
    agree(json.dumps(document, ensure_ascii=False), document)


# --- single fields ---------------------------------------------------------------------------------

SHAPED = {
    name: value
    for module in (fields, schema_network, schema_temporal, schema_boundary, schema_test)
    for name, value in vars(module).items()
    if isinstance((getattr(value, "__metadata__", None) or [None])[-1], Shape)
}
ADAPTERS = {name: TypeAdapter(value) for name, value in SHAPED.items()}
VALIDATORS = {
    name: jsonschema_rs.Draft202012Validator(SCHEMA["$defs"][value.__metadata__[-1].name])
    for name, value in SHAPED.items()
}
FRAGMENTS = [
    "a", "Z", "0", "1", "9", "64", "00", "-", "+", ".", "..", "/", "*", "**", "?", "[", "]", "[a-z]", "[z-a]", "[!a]", "[]]", "[^]", "{", "}",
    "${tenant}", "${x}", "$", "\\", "Mi", "k", "ms", "us", "ns", "s", "h", "d", "000", "000000", "fs:///", "fs:./", "tmp://", "/**", "é", "e\u0301",
    "\0", " ", "\n", ":", "::", "ffff", "192.0.2.1", "/8", "/24", "/33", "255", "256", "0x1f", "1e5", "1.5", ".com", "xn--", "_", "%41", "%2F", "%20", "%",
    "@", ":443", ":0", ":*", "65535", "65536", "GET", "TRACE", "storage", "run", "block:", "unlimited", "frozen:", "00ff", "+01:00", "=", "true", "#", "é" * 2_100,
]  # fmt: skip
SEEDS = [each for each in VALUES if isinstance(each, str)] + [
    "[::1]", "https://[2001:db8::1]:8-9", "2001:db8::1", "64:ff9b::192.0.2.1", "2001:db8::/32", "api.example.com.", "x" * 63 + ".a", "X-A", "16Ki", "4Mi",
    "64Ki", "4000", "4001", "1T", "2T", "1073741824Ki", "1073741825Ki", "3600s", "3601s", "1000000ns", "1ns", "0s", "trust=x", "/v2/*/%20", "65535", "/",
]  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A text that some field takes, or nearly."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 3))):
        at, cut = draw(st.integers(0, len(text))), draw(st.integers(0, 2))
        text = text[:at] + draw(st.sampled_from(["", *FRAGMENTS])) + text[at + cut :]
    return text


def is_beyond(text: str) -> bool:
    """Say whether a number has so many digits that it may not fit 63 bits, with its unit."""
    return any(int(number) >= 2**63 // 86_400_000_000_000 for number in re.findall(r"[0-9]+", text))


def has_falling_set(text: str) -> bool:
    sets = re.findall(r"\[[!^]?(.[^\]/]*)\]", text, re.DOTALL)
    return any(
        low > high
        for members in sets
        for low, dash, high in zip(members, members[1:], members[2:], strict=False)
        if dash == "-"
    )


def is_odd_path(text: str) -> bool:
    return unicodedata.normalize("NFC", text) != text or len(text.encode()) >= 4_096 or has_falling_set(text)


def is_address(text: str) -> bool:
    return ":" in text or "/" in text


def falls(text: str) -> bool:
    return re.search(r"[0-9]-[0-9]", text) is not None


EXCUSES = {
    "bad-quantity": lambda text: is_beyond(text) or re.fullmatch(r"[0-9]+(ns|us|ms|s|m|h)", text),
    "bad-time": lambda text: re.search(r"-(02-(29|3)|(04|06|09|11)-31)|^(1969|2262)", text),
    "bad-choice": lambda text: (
        is_beyond(text) or re.search(r"-(02-(29|3)|(04|06|09|11)-31)|:(1969|2262)", text)
    ),
    "bad-path": is_odd_path,
    "bad-target": is_odd_path,
    "bad-address": is_address,
    "bad-url": lambda text: falls(text) or is_address(text.partition("://")[2]),
    "bad-listener": lambda text: re.search(r"://(22[4-9]|23|25|\[)", text),
    "bad-port": falls,
}
"""For each finding, which texts without an odd spelling the schema may take and the field refuse."""


@pytest.mark.parametrize("name", sorted(SHAPED))
@given(texts(), st.booleans())
def test_the_shape_of_a_field_is_what_the_field_takes(name, text, is_plain):
    is_plain = is_plain and resolved(text) is not None
    if is_plain and not is_plainly_spelt(text):
        return
    try:
        ADAPTERS[name].validate_python(Plain(text) if is_plain else text, strict=True)
        found = ""
    except ValidationError as err:
        found = err.errors()[0]["type"]
    is_taken = VALIDATORS[name].is_valid(resolved(text) if is_plain else text)
    assert is_taken or found
    assert not (is_taken and found) or EXCUSES[found](text)


@given(st.integers(0, 5_000), st.integers(0, 5_000), st.integers(0, 6_000))
def test_a_range_of_numbers_is_a_pattern(low, high, number):
    is_matched = low <= high and re.fullmatch(numbers(low, high), str(number)) is not None
    assert is_matched == (low <= number <= high)


# --- the table of what the schema does not see -----------------------------------------------------

HEAD = "version: 1\nmetadata: {name: x}\n"
UNSEEN_EXAMPLES = {
    "bad-quantity": HEAD + "audit: {retain: 25h}\n",
    "bad-time": "version: 1\nmetadata: {name: x, expires: 2026-02-30T00:00:00Z}\n",
    "bad-choice": HEAD + "permissions: {clocks: {wall: 'frozen:2026-02-30T00:00:00Z'}}\n",
    "bad-path": HEAD + "permissions: {storage: {deny: [{uri: 'fs:///[z-a]'}]}}\n",
    "bad-target": HEAD + "rules: [{when: {calls: {to: 'fs:///[z-a]', over: 1}}, then: {deny: [nn]}}]\n",
    "bad-address": HEAD + "permissions: {network: {tcp: [{to: 10.0.0.1/8, ports: [1]}]}}\n",
    "bad-url": HEAD + "permissions: {network: {http: [{url: 'https://a.b:9-8', methods: [GET]}]}}\n",
    "bad-listener": HEAD + "permissions: {network: {listen: ['tcp://224.0.0.1:8']}}\n",
    "bad-port": HEAD + "permissions: {network: {tcp: [{to: a.b, ports: ['9-8']}]}}\n",
    "bad-name": "version: 1\nmetadata: {name: +1}\n",
    "bad-id": HEAD + "permissions: {storage: {deny: [{id: +1, uri: 'fs:///a'}]}}\n",
    "bad-header": HEAD
    + "permissions: {network: {http: [{url: 'https://a.b', methods: [GET], headers: {deny: [+1]}}]}}\n",
    "wrong-type": HEAD + "permissions: {extra_args: True}\n",
}


@pytest.mark.parametrize("rule", sorted(UNSEEN_EXAMPLES))
def test_each_line_of_the_table_is_needed(rule):
    text = UNSEEN_EXAMPLES[rule]
    assert refused(text) == {rule}
    assert VALIDATOR.is_valid(read(text))


def test_each_line_of_the_table_is_in_the_description():
    assert all(f"{rule} ({why})" in SCHEMA["description"] for rule, why in UNSEEN.items())


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_each_field_says_what_it_is(model):
    assert [name for name, field in model.model_fields.items() if not field.description] == []
