from __future__ import annotations

import pytest

from api.periods import check_range
from audit.errors import FilterError
from tests.http_service import hostile_guest, open_api

FROM, TO = "2026-11-22T00:00:00Z", "2026-11-21T00:00:00Z"


@pytest.mark.parametrize("ends", [(None, None), (5, None), (None, 5), (5, 5), (5, 6)])
def test_a_period_that_does_not_end_before_it_begins_is_taken(ends):
    check_range(*ends)


@pytest.mark.parametrize(
    ("ends", "said"), [((6, 5), "not before `from`, 1970-01-01"), ((1 << 70, 1), "1180591620717411303424")]
)
def test_a_period_that_ends_before_it_begins_is_refused_in_one_sentence(ends, said):
    with pytest.raises(FilterError, match="to: expected a time that is not before `from`") as refused:
        check_range(*ends)
    assert said in str(refused.value)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home")) as found:
        found.run(hostile_guest())
        yield found


@pytest.mark.parametrize("path", ["events", "stats", "control"])
def test_over_http_it_is_a_value_that_is_not_taken(api, path):
    answer = api.client.get(f"/v1/audit/{path}", params={"from": FROM, "to": TO})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:wasmgate:problem:invalid")
    assert answer.json()["errors"][0]["field"] == "to"
    assert api.client.get(f"/v1/audit/{path}", params={"from": TO, "to": FROM}).status_code == 200


@pytest.mark.parametrize("path", ["aggregate", "exports"])
def test_in_a_body_it_is_a_value_that_is_not_taken(api, path):
    more = {"form": "csv"} if path == "exports" else {}
    wrong, right = {"from": FROM, "to": TO}, {"from": TO, "to": FROM}
    assert api.client.post(f"/v1/audit/{path}", json={"filter": wrong, **more}).status_code == 422
    assert api.client.post(f"/v1/audit/{path}", json={"filter": right, **more}).status_code in {200, 202}
