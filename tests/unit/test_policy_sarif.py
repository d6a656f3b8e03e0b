"""Findings as SARIF: what the standard asks of a log, and that no secret is in it."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policy import PolicyError, check_policy
from policy import sarif as of_findings
from policy.document import load_any, load_document
from policy.errors import Finding, Severity
from tests.documents import boundary, findings, policy

# What RFC 3986 lets stand in a reference, and a first segment without a colon.
REFERENCE = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-F]{2})*(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*)*"
)
KEYS = {
    "log": ({"version", "runs"}, {"$schema"}),
    "run": ({"tool"}, {"results", "columnKind"}),
    "driver": ({"name"}, {"version", "rules"}),
    "rule": ({"id"}, {"shortDescription", "fullDescription"}),
    "result": ({"message"}, {"ruleId", "ruleIndex", "level", "locations"}),
    "location": (set(), {"physicalLocation", "logicalLocations"}),
    "physical": (set(), {"artifactLocation", "region"}),
    "region": (set(), {"startLine", "startColumn"}),
}
"""Of SARIF 2.1.0: the keys that an object must have, and those of the others that are used here."""


def sarif(found, *, version: str) -> Any:
    return of_findings.sarif(found, version=version)


def has_keys(kind: str, value) -> bool:
    needed, others = KEYS[kind]
    return needed <= set(value) <= needed | others


def assert_is_sarif(log) -> None:
    json.dumps(log)
    assert has_keys("log", log)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert has_keys("run", run)
    assert has_keys("driver", driver)
    assert run["columnKind"] in {"utf16CodeUnits", "unicodeCodePoints"}
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    for rule in driver["rules"]:
        assert has_keys("rule", rule)
        assert all(text["text"] for key, text in rule.items() if key != "id")
    for result in run["results"]:
        assert_is_result(result, ids)


def assert_is_result(result, ids) -> None:
    assert has_keys("result", result)
    assert ids[result["ruleIndex"]] == result["ruleId"]
    assert result["level"] in {"none", "note", "warning", "error"}
    assert result["message"]["text"]
    (location,) = result["locations"]
    assert has_keys("location", location)
    physical = location["physicalLocation"]
    assert has_keys("physical", physical)
    assert REFERENCE.fullmatch(physical["artifactLocation"]["uri"])
    region = physical.get("region", {"startLine": 1, "startColumn": 1})
    assert has_keys("region", region)
    assert min(region.values()) >= 1


def test_a_log_without_findings_is_one():
    assert_is_sarif(sarif((), version="1"))


def test_errors_and_warnings_of_a_document_are_results():
    text = "extends: [nobody]\npermissions: {storage: {allow: [{uri: 'fs:///**', access: [read]}]}}"
    found = findings(policy(text), boundary("b"))
    log = sarif(found, version="0.1")
    assert_is_sarif(log)
    results = log["runs"][0]["results"]
    assert {each["level"] for each in results} == {"error", "warning"}
    assert [each["ruleId"] for each in results] == [each.id for each in found]
    described = {rule["id"]: rule for rule in log["runs"][0]["tool"]["driver"]["rules"]}
    assert described["whole-filesystem"]["shortDescription"]["text"]


def test_a_document_that_cannot_be_read_has_results_too():
    try:
        load_any(b"a: [\n", file="x.yaml")
    except PolicyError as err:
        assert_is_sarif(sarif(err.findings, version="1"))


@given(st.text(), st.text(), st.integers(0, 3), st.sampled_from(Severity))
def test_any_name_of_a_file_gives_a_reference(file, sentence, line, severity):
    found = Finding("a", file, line, 1, "", severity=severity, problem=f"x{sentence}")
    assert_is_sarif(sarif([found], version="1"))


def test_a_name_that_is_no_unicode_is_escaped():
    log = sarif([Finding("a", "x\udcff:y.yaml", 1, 1, "", problem="p")], version="1")
    assert (
        log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        == "x%FF%3Ay.yaml"
    )


SECRET = "q7Gm2Zr9LpXw4Vb8Tn1Ks6Hd3Jf5Cy0AoEuIiQ"


def test_a_secret_is_in_no_finding_about_its_line():
    text = (
        "version: 1\nmetadata: {name: p}\npermissions: {environment: {allow: [{key: API_TOKEN, value: "
        f"{SECRET}}}]}}, storage: {{allow: [{{uri: 'fs:///**', access: [read, read]}}]}}}}\n"
    )
    found = check_policy(load_document(text.encode(), file="p.yaml"), base_dir="/b", now_ns=None)
    assert {each.id for each in found} >= {"plain-secret", "whole-filesystem", "unused-right"}
    assert SECRET not in json.dumps(sarif(found, version="1"))
    assert not [each for each in found if SECRET in each.render_with_source()]
