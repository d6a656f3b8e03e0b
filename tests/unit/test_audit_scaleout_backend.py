"""The name of an engine is read strictly, and its password is nowhere to be seen."""

from __future__ import annotations

import pytest

from api.settings import SettingsError, load_settings
from audit.errors import QueryError
from audit.scaleout.backend import Backend
from audit.scaleout.clickhouse import ClickHouse
from audit.scaleout.errors import BackendError

PASSWORD = "pa55:w/rd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("embedded", Backend()),
        ("chdb:///srv/ch", Backend(kind="chdb", path="/srv/ch")),
        ("clickhouse://db", Backend(kind="clickhouse", host="db", port=8123)),
        ("clickhouse://db:1/x?secure=1", Backend(kind="clickhouse", host="db", port=1, database="x", is_secure=True)),
        ("clickhouse://u:pa55%3Aw%2Frd@[::1]/log", Backend(kind="clickhouse", host="::1", port=8123, database="log", user="u", password=PASSWORD)),
    ],
)  # fmt: skip
def test_a_backend_is_read(text, expected):
    assert Backend.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["duckdb", "chdb://relative", "chdb:///a/../b", "chdb:///a?x=1", "clickhouse://", "clickhouse://h:port/d", "clickhouse://h/d;drop",
     "clickhouse://h/d/e", "clickhouse://h/d?secure=1&x=y", "http://h/d", "clickhouse://u:s3cr3t@h:99999/d"],
)  # fmt: skip
def test_what_is_no_backend_is_refused_without_a_word_of_it(text):
    with pytest.raises(BackendError, match="expected `embedded`") as caught:
        Backend.parse(text)
    assert "s3cr3t" not in str(caught.value)


def test_a_password_is_not_shown():
    one = Backend.parse("clickhouse://u:pa55%3Aw%2Frd@db:1/log")
    assert one.shown == "clickhouse://db:1/log"
    assert PASSWORD not in repr(one)


def test_a_server_that_is_not_there_is_an_error_without_the_password():
    with pytest.raises(QueryError) as caught:
        ClickHouse(Backend.parse("clickhouse://u:s3cr3t@127.0.0.1:1/log"))
    assert "clickhouse://127.0.0.1:1/log" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_a_setting_names_it_and_a_wrong_one_is_not_repeated():
    given = {"WASMGATE_HOME": "/h", "WASMGATE_AUDIT_BACKEND": "clickhouse://u:s3cr3t@db/log"}
    found = load_settings(given)
    assert found.audit_backend == "clickhouse://u:s3cr3t@db/log"
    assert "s3cr3t" not in repr(found)
    with pytest.raises(SettingsError, match="WASMGATE_AUDIT_BACKEND: expected `embedded`") as caught:
        load_settings(given | {"WASMGATE_AUDIT_BACKEND": "clickhouse://u:s3cr3t@db/log/x"})
    assert "s3cr3t" not in str(caught.value)
