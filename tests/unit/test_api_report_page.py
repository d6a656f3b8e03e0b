"""The page says what the facts say, is well formed, loads nothing, and no text of the log becomes markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from api.report_charts import charts_of
from api.report_controls import controls_of
from api.report_facts import (
    Bucket,
    Coverage,
    Example,
    Facts,
    Limits,
    Made,
    Missing,
    Noted,
    Period,
    PolicyUse,
    Reader,
    Refused,
    Totals,
    Verification,
)
from api.report_page import _template, render
from api.report_parts import bucket_of, kind_of, link_of

EXEC = "01a1ee56-5e00-7000-8000-000000000001"
HOSTILE = (
    "</title></svg></td><script>alert(1)</script><img src=//evil.example/x>\x00\u202e\"'&{{ 7*7 }}\x1b[31m"
)
VOID = {"meta", "br", "rect", "img", "link"}


def facts(**changes):
    at = "2026-11-18T10:00:00.000000000Z"
    noted = Noted(at, "policy", "user:ann(1000)", "acme", 4, "name=web, digest=sha256:cd")
    found = Facts(
        period=Period(begin="2026-11-01T00:00:00.000000000Z", end="2026-12-01T00:00:00.000000000Z", tenant="acme", bucket_s=86_400),
        made=Made(
            at=at, by="user:ann(1000)", version="0.1", origin="example.com/audit", checkpoint_size=12,
            checkpoint_root="ab" * 32, key="example.com/audit+00000000+AAAA", leaves=14,
        ),
        totals=Totals(
            calls=1_234_567, refusals=42, bytes_in=9_000, bytes_out=8_000, executions=7, modules=2, policies=1,
            tenants=1, records=1_000, source="rollup", is_truncated=False,
        ),
        timeline=(Bucket(at, {"files": 1_000_000, "other": 234_567}),),
        refused=(Refused("sample (sha256:abab…)", "default", "deny", 40), Refused("two", "builtin", "limit", 2)),
        examples=(Example(f"{EXEC}:4", link_of(EXEC, 4), at, "acme", "path_open", "/etc/passwd", "default", "no rule"),),
        outcomes={"exited": 6, "trapped": 1},
        policies=(PolicyUse("web", "sha256:" + "cd" * 32, 7, at, at, ("resources.limits.cpu",)),),
        policy_changes=(noted,),
        coverage=Coverage(
            segments=3, pruned_segments=1, unsealed_bytes=100, first=at, last=at,
            gaps=(Missing(at, f"{EXEC}:5 to 6", "disk full", 9),), damage=(), switches=(replace(noted, event="audit-on"),),
        ),
        limits=Limits(summary_calls=11, masked_calls=13, unenforced_runs=1),
        readers=(Reader("key:bob", "export", 3, 3_000, at),),
        keys=(replace(noted, event="rotation"),),
        retention=(replace(noted, event="prune"),),
        holds=({"id": EXEC, "at": at, "actor": "key:bob", "reason": "case 7", "tenant": "acme", "execution": None, "module": None, "from": None, "to": None},),
        verification=Verification(
            result="verified with notes", state="notes", began=at, took_ms=1_500, checked={"leaves": 14},
            errors=0, unchecked=0, notes=1, findings=("note: gap: records are missing",),
        ),
    )  # fmt: skip
    found = replace(found, **changes)
    return replace(found, controls=controls_of(found))


class Reading(HTMLParser):
    """Checks nesting, and keeps tags, attributes and text."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags, self.attributes, self.text = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID - {"rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)


def test_the_page_is_what_a_person_read(golden):
    golden("report.html", render(facts()))


def test_the_page_is_well_formed_and_loads_nothing():
    page = render(facts())
    found = Reading(page)
    assert not {"script", "img", "link", "iframe", "object", "form", "a"} & set(found.tags)
    assert not [one for one in found.attributes if one[1] in {"src", "href"} or one[1].startswith("on")]
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_charts_have_text_alternatives():
    found = Reading(render(facts()))
    svgs = [one for one in found.attributes if one[:2] == ("svg", "aria-label")]
    assert len(svgs) == found.tags.count("svg") == found.tags.count("desc") == 5
    assert "1,234,567 calls" in svgs[0][2]


def test_the_page_has_the_numbers_of_the_json():
    given = facts()
    said = " ".join(" ".join(Reading(render(given)).text).split())
    document = json.loads(json.dumps(given.as_json()))
    for name in ("calls", "refusals", "executions", "bytes_in", "bytes_out"):
        assert f"{document['totals'][name]:,}" in said
    for one in document["refused"]:
        assert f"{one['module']} {one['rule']} {one['decision']} {one['count']:,}" in said
    for one in document["examples"]:
        assert one["ref"] in said
        assert one["link"] in said
    assert f"{document['limits']['masked_calls']} a value was masked" in said
    assert document["verification"]["result"] in said


def hostile(value: Any, text: str) -> Any:
    """Every text of a value, replaced; times and lists stay what they are."""
    if isinstance(value, str):
        return value if re.match(r"\d{4}-", value) else text
    if isinstance(value, tuple):
        return tuple(hostile(one, text) for one in value)
    if isinstance(value, dict):
        return {
            name
            if name
            in {
                "files",
                "other",
                "id",
                "at",
                "actor",
                "reason",
                "tenant",
                "execution",
                "module",
                "from",
                "to",
            }
            else text: hostile(one, text)
            for name, one in value.items()
        }
    if hasattr(value, "__slots__"):
        return replace(value, **{name: hostile(getattr(value, name), text) for name in value.__slots__})
    return value


@pytest.mark.parametrize(
    "text", [HOSTILE, "x" * 100_000, "\ud800", "\u2066\u202e" * 100, "<!--", "]]>", "' onload='x"]
)
def test_hostile_text_stays_text(text):
    page = render(hostile(facts(), text))
    honest = Reading(render(hostile(facts(), "x")))
    found = Reading(page)
    assert found.tags == honest.tags
    assert [one[:2] for one in found.attributes] == [one[:2] for one in honest.attributes]
    assert not re.search("[\x00\x1b\u202e\u2066]", page)
    assert len(page) < 200_000
    page.encode()


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=60))
def test_no_text_changes_the_structure(text):
    honest = Reading(render(hostile(facts(), "x")))
    assert Reading(render(hostile(facts(), text))).tags == honest.tags


def test_a_failed_verification_is_red_and_one_that_was_left_out_is_not_green():
    for state in ("failed", "incomplete", "not made"):
        of = replace(facts().verification, state=state, result="x")
        page = render(facts(verification=of))
        assert f'<p class="result {state}">' in page
        assert '<p class="result notes">' not in page
        assert ".result.failed { color: #a3121c" in page


def test_an_empty_period_is_a_page_too():
    nothing = facts(
        timeline=(), refused=(), examples=(), outcomes={}, policies=(), policy_changes=(), readers=(), keys=(),
        retention=(), holds=(),
        coverage=Coverage(segments=0, pruned_segments=0, unsealed_bytes=0, first=None, last=None, gaps=(), damage=(), switches=()),
        totals=Totals(calls=0, refusals=0, bytes_in=0, bytes_out=0, executions=0, modules=0, policies=0, tenants=0, records=0, source="rollup", is_truncated=False),
    )  # fmt: skip
    said = "".join(Reading(render(nothing)).text)
    assert "No execution began in the period." in said
    assert "No refusals." in said


def test_huge_numbers_stay_in_the_picture():
    most = (1 << 63) - 1
    of = facts(
        timeline=(Bucket("2026-11-18T00:00:00.000000000Z", {"files": most, "network": 1}),),
        refused=tuple(Refused(f"m{at}", "r", "deny", most - at) for at in range(700)),
    )
    for chart in charts_of(of):
        for box in chart.boxes:
            assert 0 <= float(box.x) <= float(chart.width)
            assert 0 <= float(box.y) + float(box.height) <= float(chart.height) + 0.2
    page = render(of)
    assert f"{most:,}" in page
    assert "The first 500 of 700 are shown" in page


def test_a_value_that_is_missing_is_an_error_not_a_blank():
    with pytest.raises(UndefinedError):
        _template().environment.from_string("{{ nobody }}").render()
    assert _template().environment.from_string("{{ one }}").render(one=None) == "-"


def test_each_control_says_what_it_does_not_show():
    found = facts().controls
    assert [one.number for one in found] == [
        "AU-2", "AU-3", "AU-6", "AU-9", "AU-10", "AU-12", "CC7.1", "CC7.2", "CC7.3", "CC7.4", "A.8.15",
    ]  # fmt: skip
    assert all(one.shows and one.lacks for one in found)
    assert not re.search(r"\bcompliant\b", render(facts()))


def test_calls_have_kinds_and_periods_have_pieces():
    assert kind_of("wasi_snapshot_preview1.path_open") == "files"
    assert kind_of("sock_send") == "network"
    assert kind_of("new_thing") == "other"
    assert bucket_of(1) == 60
    assert bucket_of(86_400 * 30 * 10**9) == 86_400
    assert bucket_of(10**30) == 31_536_000
