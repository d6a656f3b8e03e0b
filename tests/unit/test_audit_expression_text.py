"""The language of `q` takes what it says, and refuses everything else that SQL can do."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FilterError
from audit.expression import Among, Comparison, Every, IsNull, Matches, Not, Some, columns_in, decisions_in
from audit.expression_text import parse

ONE = Comparison("errno", "=", 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("errno = 1", ONE),
        ("ERRNO == 1", ONE),
        ("((errno = 1))", ONE),
        ("errno != 1", Not(ONE)),
        ("errno <> -1", Not(Comparison("errno", "=", -1))),
        ("bytes_in >= 4096", Comparison("bytes_in", ">=", 4096)),
        ("n between 1 and 2", Every((Comparison("n", ">=", 1), Comparison("n", "<=", 2)))),
        ("rule = 'it''s'", Comparison("rule_id", "=", "it's")),
        ("rule is null", IsNull("rule_id")),
        ("rule is not null", Not(IsNull("rule_id"))),
        ("errno in (1, -2)", Among("errno", (1, -2))),
        ("errno not in (1)", Not(Among("errno", (1,)))),
        ("call like 'fd\\_%'", Matches("call", "like", "fd\\_%")),
        ("call glob 'fd_*' and errno = 1", Every((Matches("call", "glob", "fd_*"), ONE))),
        ("errno = 1 or errno = 1 or errno = 1", Some((ONE, ONE, ONE))),
        ("not (errno = 1 and errno = 1)", Not(Every((ONE, ONE)))),
        ("decision = 'deny'", Comparison("decision", "=", 2)),
        ("time >= '1970-01-01T00:00:01Z'", Comparison("t_ns", ">=", 10**9)),
        ("class = 1001", Comparison("class_uid", "=", 1001)),
        ("\"call\" = 'x'", Comparison("call", "=", "x")),
    ],
)
def test_what_it_says_is_understood(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ";", "errno", "1", "1 = 1", "true", "errno = errno", "1 = errno", "errno = 1.5", "errno = 1e3",
        "errno = 99999999999999999999", "errno = '1'", "errno = null", "errno = true", "errno is true", "rule = 1",
        "decision = 'DENY'", "decision = 'x'", "decision > 'deny'", "call > 'a'", "password = 'x'", "* = 1",
        # statements and comments
        "errno = 1; select 1", "errno = 1; drop table tail", "select 1", "errno = 1 -- x", "errno = 1 /* x */",
        "/* x */ errno = 1", "errno = 1 union select 1", "call x()", "pragma x", "copy tail to 'x'", "attach 'x'",
        "with x as (select 1) select 1", "errno = 1 order by 1", "errno = 1 limit 1", "errno = 1) or (errno = 2",
        # functions, files, subqueries, casts
        "lower(call) = 'x'", "read_text('/etc/passwd') = 'x'", "call = read_text('/etc/passwd')",
        "errno = (select 1)", "errno in (select 1)", "errno in (1, (select 2))", "exists (select 1)",
        "errno = any([1])", "errno in unnest([1])", "errno::int = 1", "cast(errno as int) = 1",
        "call = 'x'::varchar", "t_ns = date '2020-01-01'", "case when errno = 1 then 1 end = 1", "errno + 1 = 2",
        "errno = 1 + 1", "errno & 1 = 1", "call || 'x' = 'y'", "call = 'a' 'b'", "columns('x') = 1", "call[1] = 'x'",
        "(errno, n) = (1, 2)", "errno = [1]", "errno = {'a': 1}", "x -> x = 1", "getenv('HOME') = 'x'",
        # qualified names, placeholders, odd literals
        "tail.errno = 1", "main.tail.errno = 1", "errno = $1", "errno = ?", "errno = :x", "errno = @x",
        "call = E'x'", "call = $$x$$", "call = x'41'", "call ilike 'x'", "call like 'x' escape '!'",
        "call similar to 'x'", "call ~ 'x'", "call like 1", "call like call", "errno like '1'", 'call = "x"',
        "n between symmetric 1 and 2", "errno = 1 and", "errno in", "= 1", "'", "\x00",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text):
    with pytest.raises(FilterError, match=r"^q: "):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 3000 + "errno = 1" + ")" * 3000,
        "(" * 25 + "errno = 1" + ")" * 25,
        "not " * 25 + "errno = 1",
        "not " * 900 + "errno = 1",
        "errno = " + "- " * 900 + "1",
        "errno in (" + ",".join("1" * 5000) + ")",
        " or ".join(["n = 1"] * 400),
        "errno = 1" + " " * 5000,
        "case " * 700,
        "[" * 2000,
        "{" * 2000,
        "a." * 2000,
    ],
)
def test_what_is_too_large_or_too_deep_is_refused(text):
    with pytest.raises(FilterError, match=r"^q: "):
        parse(text)


def test_what_is_large_and_not_too_large_is_taken():
    assert parse("(" * 23 + "errno = 1" + ")" * 23) == ONE
    assert parse("not " * 24 + "errno = 1") is not None
    assert parse(" or ".join(["errno = 1"] * 250)) == Some((ONE,) * 250)
    found = parse("errno in (" + ",".join("1" * 500) + ")")
    assert found == Among("errno", (1,) * 500)


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_a_filter_error(text):
    with contextlib.suppress(FilterError):
        parse(text)


WORDS = ["errno", "call", "=", "1", "'x'", "(", ")", "and", "or", "not", "in", "like", "select", "from", ",", "::int",
         "*", "case", "when", "end", "is", "null", "between", "--", ";", "[", "]", "{", "}", "lambda", "x", "->"]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join))
def test_any_row_of_words_is_an_expression_of_known_columns_or_a_filter_error(text):
    try:
        found = parse(text)
    except FilterError:
        return
    assert columns_in(found) <= {"errno", "call"}


def test_it_is_known_which_columns_and_which_decisions_it_is_about():
    found = parse("decision in ('deny','limit') and (rule = 'x' or decision = 'deny')")
    assert columns_in(found) == {"decision", "rule_id"}
    assert decisions_in(found) == frozenset({2, 5})
    assert decisions_in(parse("decision = 'deny' and decision = 'limit'")) == frozenset()
    assert decisions_in(parse("decision = 'deny' or rule = 'x'")) is None
    assert decisions_in(parse("decision != 'deny'")) is None
