"""A message is RFC 5424: its parts are found by the grammar alone, it is bounded, and it says what was cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.export.spelling import unspelt
from audit.export.syslog import Sender, message
from tests.export_rows import NASTY, row

SENDER = Sender(hostname="node-1", process="77")
GRAMMAR = re.compile(
    r"<(\d{1,3})>1 (\S+) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) \[(\w+@\d+)((?: [a-z0-9_]+=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*)\] (.*)\Z"
)


def told(**changes):
    return row(**changes) | {"decision": changes.get("decision", "deny")}


def parsed(raw):
    match = GRAMMAR.match(raw.decode())
    assert match, raw
    values = dict(re.findall(r' ([a-z0-9_]+)="((?:[^"\\\]]|\\["\\\]])*)"', match[8]))
    return match, {key: re.sub(r'\\(["\\\]])', r"\1", value) for key, value in values.items()}


def test_a_refusal_has_its_priority_time_and_values():
    match, values = parsed(message(told(errno=76, reason="rule"), SENDER))
    assert match[1] == str(13 * 8 + 4)
    assert match[2] == "2026-11-18T11:06:40.123456Z"
    assert match.group(3, 4, 5, 6, 7) == ("node-1", "wasmgate", "77", "path_open", "wasmgate@32473")
    assert values["target"] == "/srv/in/a.csv"
    assert match[9] == "path_open: deny (rule) /srv/in/a.csv"


@given(NASTY, NASTY, NASTY)
def test_hostile_text_comes_back(target, rule, call):
    _, values = parsed(message(told(target=target, rule_id=rule, call=f"x.{call}", reason=target), SENDER))
    assert "cut" not in values
    assert [unspelt(values[name]) for name in ("target", "rule_id", "call")] == [target, rule, f"x.{call}"]


@given(st.integers(1024, 3000), st.integers(0, 4096), st.sampled_from('a\\]"é\U0001f600\x00\u202e'))
def test_a_message_is_bounded_and_says_what_was_cut(most, length, letter):
    raw = message(
        told(target=letter * length, guest_target=letter * length, target2="x"),
        Sender(max_bytes=most, hostname="h" * 300),
    )
    assert len(raw) <= most
    _, values = parsed(raw)
    assert ("cut" in values) == any(
        values.get(name) is None or len(unspelt_start(values[name])) < size
        for name, size in (
            ("target", length),
            ("guest_target", length),
            ("target2", 1),
            ("module_id", 71),
            ("policy_id", 71),
            ("exec_id", 36),
        )
    )


def unspelt_start(text):
    """A cut may tear an escape of ours: what is before it counts."""
    return unspelt(re.sub(r"(?<!\\)((?:\\\\)*)\\(?:x.?|u.{0,3}|U.{0,7})?$", r"\1", text))


def test_a_mark_says_that_a_message_is_utf_8_and_ascii_has_none():
    assert b"] \xef\xbb\xbfpath_open: deny /srv/\xc3\xbc" in message(told(target="/srv/ü"), SENDER)
    assert b"\xef\xbb\xbf" not in message(told(target="/srv/u"), SENDER)


@pytest.mark.parametrize(("word", "severity"), [("deny", 4), ("limit", 4), ("would_deny", 5), ("allow", 6)])
def test_severities_follow_decisions(word, severity):
    assert message(told(decision=word), SENDER).startswith(f"<{13 * 8 + severity}>".encode())


def test_less_room_than_a_header_may_need_is_refused():
    with pytest.raises(ValueError, match="1024"):
        Sender(max_bytes=1023)


def test_a_name_of_a_host_cannot_add_fields():
    match, _ = parsed(message(told(), Sender(hostname="a b\nc")))
    assert match[3] == "a_b_c"
