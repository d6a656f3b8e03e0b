"""Texts of the audit section mean one thing each, and a mask's glob fits the stored form of its paths."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.text import to_text
from policy.audit_terms import TermError, calls_of, parse_mask, parse_payload
from policy.globs import GlobError
from policy.plan_audit import Kept, Payload


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("none", Payload()), ("digest", Payload(Kept.DIGEST)), ("full", Payload(Kept.FULL)),
     ("head:1", Payload(Kept.HEAD, 1)), ("head:65536", Payload(Kept.HEAD, 65_536))],
)  # fmt: skip
def test_a_payload_is_read_and_written(text, meaning):
    assert parse_payload(text) == meaning
    assert str(meaning) == text


@pytest.mark.parametrize("text", ["", "head", "head:0", "head:01", "head:65537", "full:1", "all", "head:-1"])
def test_what_is_no_payload_is_refused(text):
    with pytest.raises(TermError):
        parse_payload(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [("path:hmac", "path:hmac"), ("path:prefix", "path:prefix:2"), ("path:prefix:2", "path:prefix:2"),
     ("path:drop:/in/**", "path:drop:/in/**"), ("path:prefix:3:/a:/b", "path:prefix:3:/a:/b"),
     ("payload:digest:/x", "payload:digest:/x"), ("json:/a~1b", "json:/a~1b")],
)  # fmt: skip
def test_a_mask_is_read(text, written):
    mask = parse_mask(text)
    assert mask is not None
    assert str(mask) == written


@pytest.mark.parametrize(
    "text",
    ["", "path", "path:", "path:hash", "path:hmac:2", "path:prefix:0", "path:prefix:33", "payload:hmac", "json:",
     "json:email", "json:/a~2", "args:hmac", "path:drop:in/**", "defaults"],
)  # fmt: skip
def test_what_is_no_mask_is_refused(text):
    with pytest.raises(TermError):
        parse_mask(text)


@pytest.mark.parametrize("glob", ["/", "/a/", "/a//b", "/a/../b", "/a**", "/{a,b}", "/${tenant}/x", "/[z"])
def test_a_glob_that_could_be_read_in_two_ways_is_refused(glob):
    with pytest.raises(GlobError):
        parse_mask(f"path:drop:{glob}")


def test_default_blots_out_nothing_more():
    assert parse_mask("default") is None


def test_a_rule_is_for_the_calls_that_its_glob_fits():
    assert calls_of("fd_p*") == ("fd_pread", "fd_prestat_get", "fd_prestat_dir_name", "fd_pwrite")
    assert calls_of("fd_reed") == ()


def fits(glob: str, path: bytes) -> bool:
    mask = parse_mask(f"path:drop:{glob}")
    assert mask is not None
    return bool(pc.match_substring_regex(pa.array([to_text(path)]), mask.pattern)[0].as_py())


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [("/in/**", b"/in", True), ("/in/**", b"/in/a/b", True), ("/in/**", b"/inn", False), ("/**", b"/", True),
     ("/**", b"/a", True), ("/a/**/z", b"/a/z", True), ("/a/**/z", b"/a/b/c/z", True), ("/a/*", b"/a/b/c", False),
     ("/a?", b"/a\xff", True), ("/a?", b"/a\\", True), ("/a?", "/aé".encode(), True), ("/a?", b"/ab\n", False),
     ("/*", b"/a\nb", True), ("/[!a]", b"/\xff", True), ("/[!a]", b"/a", False), ("/[a-c]x", b"/bx", True),
     ("/a.b", b"/axb", False), ("/a+b", b"/a+b", True), ("/a b$^()|", b"/a b$^()|", True)],
)  # fmt: skip
def test_a_glob_fits_the_stored_form(glob, path, expected):
    assert fits(glob, path) is expected


@given(
    st.text("ab*?", min_size=1, max_size=6).filter(lambda text: "**" not in text), st.text("abé.", max_size=6)
)
def test_one_segment_fits_as_in_a_shell(glob, name):
    assert fits(f"/{glob}", f"/{name}".encode()) is (fnmatchcase(name, glob) and name not in {".", ".."}) or (
        name in {".", ".."}
    )
