"""Globs and URIs: what they are read as, and what is refused with which advice."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.globs import AnyCharacter, DoubleStar, GlobError, Literal, OneOf, Star, parse_glob, parse_relative
from policy.uris import Extent, Space, check_mount, parse_allow, parse_deny


def test_pieces_of_a_glob():
    assert parse_glob("a*/?[a-c].é/**") == (
        (Literal(b"a"), Star()),
        (AnyCharacter(), OneOf(((0x61, 0x63),), or_wide=False), Literal(".é".encode())),
        DoubleStar(),
    )


def test_a_set_of_one_character_is_that_character():
    assert parse_glob("[*]") == ((Literal(b"*"),),)


def test_a_set_never_holds_a_slash():
    assert parse_glob("[.-0]") == ((OneOf(((0x2E, 0x2E), (0x30, 0x30)), or_wide=False),),)


def test_double_stars_in_a_row_are_one():
    assert parse_glob("**/**/a") == parse_glob("**/a")


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [("/a", "a"), ("a/", "a/**"), ("!a", "a"), ("a//b", "a/b"), ("x/**b", "x/**/*b"), ("a**", ""), ("{a,b}", ""),
     ("a\\*", ""), ("[a", ""), ("[z-a]", ""), ("[é]", ""), ("a/../b", ""), ("./a", ""), ("", ""), ("a\0b", ""),
     ("e\u0301", "\u00e9"), ("a" * 4096, "")],
)  # fmt: skip
def test_what_is_no_glob(text, suggestion):
    with pytest.raises(GlobError) as caught:
        parse_relative(text)
    assert caught.value.suggestion == suggestion
    assert caught.value.expected


@pytest.mark.parametrize(
    ("text", "space", "extent", "segments", "is_relative"),
    [
        ("fs:///a/b/**", Space.HOST, Extent.TREE, ("a", "b"), False),
        ("fs:///a/b", Space.HOST, Extent.FILE, ("a", "b"), False),
        ("fs:///**", Space.HOST, Extent.TREE, (), False),
        ("fs:./a/**", Space.HOST, Extent.TREE, ("a",), True),
        ("fs:./**", Space.HOST, Extent.TREE, (), True),
        ("fs:./a.txt", Space.HOST, Extent.FILE, ("a.txt",), True),
        ("tmp://out", Space.SCRATCH, Extent.TREE, ("out",), False),
        ("tmp://out/**", Space.SCRATCH, Extent.TREE, ("out",), False),
    ],
)
def test_uris_of_allow_rules(text, space, extent, segments, is_relative):
    target = parse_allow(text)
    assert (target.space, target.extent, target.segments, target.is_relative) == (
        space,
        extent,
        segments,
        is_relative,
    )


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [("/a/**", "fs:///a/**"), ("./a", "fs:./a"), ("file:///a", "fs:///a"), ("fs://a", "fs:///a"), ("fs:a", "fs:./a"),
     ("fs:///a/", "fs:///a/**"), ("fs:///", "fs:///**"), ("fs:./", "fs:./**"), ("fs:///*/a", ""), ("fs:///a/../b", ""),
     ("fs:///a//b", "fs:///a/b"), ("fs:./../a", ""), ("tmp://a/b", ""), ("tmp://", ""), ("tmp://A", ""), ("http://x", "")],
)  # fmt: skip
def test_what_is_no_uri_of_an_allow_rule(text, suggestion):
    with pytest.raises(GlobError) as caught:
        parse_allow(text)
    assert caught.value.suggestion == suggestion


def test_relative_uris_start_at_the_folder_of_the_document():
    assert parse_allow("fs:./a/**").host_path("/base/") == "/base/a"
    assert parse_allow("fs:./**").host_path("/") == "/"
    assert parse_deny("fs:./a*").absolute("/ba*se") == ((Literal(b"ba*se"),), (Literal(b"a"), Star()))


def test_a_mount_is_an_absolute_path():
    check_mount("/")
    check_mount("/in/a b")
    with pytest.raises(GlobError) as caught:
        check_mount("in")
    assert caught.value.suggestion == "/in"


@given(st.text(max_size=30))
def test_any_text_is_a_glob_or_an_error(text):
    for parse in (parse_relative, parse_glob, parse_allow, parse_deny, check_mount):
        with contextlib.suppress(GlobError):
            parse(text)
