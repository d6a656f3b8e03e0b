"""What is left of a document with faults is checked as well, and told at the places of the whole."""

from __future__ import annotations

from policy.checking import check_document
from policy.document import load_any, load_document
from policy.salvage import salvage
from policy.source import load_source

HEAD = "version: 1\nmetadata: {name: p}\n"
RULES = """permissions:
  storage:
    allow:
      - {id: "not an id", uri: "fs:///a/**", access: [read]}
      - {id: all, uri: "fs:///**", access: [read]}
      - {uri: "fs:///b/**"}
      - {id: etc, uri: "fs:///etc/**", access: [write]}
"""


def rest_of(text: str):
    return salvage(load_source(text.encode(), file="p.yaml"))


def told(text: str) -> list[tuple[str, int, str]]:
    rest = rest_of(text)
    if rest is None:
        return []
    found = check_document(rest.document, base_dir="/p", now_ns=None)
    return [(each.id, each.line, each.field) for each in rest.telling(found)]


def test_lints_are_told_beside_faults_of_shape_at_the_lines_of_the_text():
    field = "permissions.storage.allow[{}].uri"
    assert sorted(told(HEAD + RULES), key=lambda each: each[1:] + each[:1]) == [
        ("whole-filesystem", 7, field.format(1)),
        ("nested-grants", 9, field.format(3)),
        ("writable-root", 9, field.format(3)),
    ]


def test_a_document_without_faults_is_left_whole():
    text = HEAD + RULES.replace('"not an id"', "one").replace(
        '{uri: "fs:///b/**"}', '{uri: "fs:///b/**", access: [list]}'
    )
    rest = rest_of(text)
    assert rest is not None
    assert rest.missing == frozenset()
    whole = load_document(text.encode(), file="p.yaml")
    assert rest.document.model == whole.model
    known = [(each.id, each.line, each.field) for each in check_document(whole, base_dir="/p", now_ns=None)]
    assert told(text) == known


def test_what_depends_on_a_part_that_is_missing_is_not_told():
    assert ("no-digest", 3, "match") in told(HEAD + "match: {name: x}\nmode: enforce\nx: 1\n")
    assert told(HEAD + "match: {name: x, digest: [sha256:12]}\n") == []


def test_where_all_depends_on_what_is_missing_nothing_is_left():
    for text in ("version: 2\nmetadata: {name: p}\n", "version: 1\n", HEAD + "extends: [1, {}]\n", "[]\n"):
        assert rest_of(text) is None


def test_each_kind_of_document_is_salvaged_as_what_it_is():
    boundary = "version: 1\nkind: Boundary\nmetadata: {name: b}\nceiling: {x: 1, limits: {cpu: 1s}}\n"
    rest = rest_of(boundary)
    assert rest is not None
    assert type(rest.document) is type(load_any(boundary.replace("x: 1, ", "").encode(), file="b.yaml"))
