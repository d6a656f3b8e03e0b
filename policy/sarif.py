"""Findings as SARIF 2.1.0, the format that code hosts and editors show at the line.

What a finding holds is said in `errors.py`. Texts of a document are escaped as everywhere, and a file is
named as the caller named it, with the characters that a URI can't hold percent-encoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from policy.checks import CHECKS, SITUATIONAL_CHECKS
from policy.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy.digest import Json
    from policy.errors import Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(findings: Iterable[Finding], *, version: str) -> dict[str, Json]:
    """One run with a result for each finding; `version` is that of wasmgate."""
    found = list(findings)
    ids = sorted({each.id for each in found})
    position = {name: index for index, name in enumerate(ids)}
    known = {check.ID: check for check in (*CHECKS, *SITUATIONAL_CHECKS)}
    rules: list[Json] = []
    for name in ids:
        rule: dict[str, Json] = {"id": name}
        if name in known:
            rule["shortDescription"] = {"text": known[name].SUMMARY}
            rule["fullDescription"] = {"text": known[name].WHY}
        rules.append(rule)
    driver: dict[str, Json] = {"name": "wasmgate", "version": version, "rules": rules}
    results: list[Json] = [_result(each, position[each.id]) for each in found]
    run: dict[str, Json] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(finding: Finding, rule: int) -> Json:
    place: dict[str, Json] = {
        "artifactLocation": {"uri": quote(finding.file, safe="/._-~", errors="surrogateescape")}
    }
    if finding.line:
        place["region"] = {"startLine": finding.line, "startColumn": finding.column}
    location: dict[str, Json] = {"physicalLocation": place}
    if finding.field:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.field}]
    return {
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": "error" if finding.severity is Severity.ERROR else "warning",
        "message": {"text": finding.sentence},
        "locations": [location],
    }
