"""What somebody searched for does not bring into the log what a mask keeps out of it."""

from __future__ import annotations

import json

import pytest

from api.control import Question, ReadLog, recorded
from api.hidden_values import NOT_KEPT, SEARCHED, HiddenValues
from audit.events import ControlEvent
from audit.filters import RecordFilter
from audit.mask_keys import FileMaskKeys
from audit.masks import candidate

SECRET = "/srv/in/bob.csv"


@pytest.fixture
def keys(tmp_path):
    made = FileMaskKeys(tmp_path / "mask")
    made.key("acme")
    return made


def filter_of(keys, wanted, *, scope="*"):
    """What the event of a read says was asked."""
    found: list[ControlEvent] = []
    reads = ReadLog(found.append, HiddenValues(keys.directory).out_of)
    reads.done(Question("key:ann", "list_events", scope, wanted), rows=0)
    with reads.going(Question("key:ann", "list_events", scope, wanted)):
        pass
    texts = {event.details["filter"] for event in found}
    assert len(found) == 3
    (text,) = texts
    return json.loads(str(text))


@pytest.mark.parametrize("name", sorted(SEARCHED))
@pytest.mark.parametrize("scope", ["*", "acme", "acme,globex", "globex,acme"])
def test_a_value_that_was_searched_for_is_not_on_record_where_a_tenant_in_reach_has_masks(keys, name, scope):
    said = filter_of(keys, {name: SECRET, "call": "path_open"}, scope=scope)
    assert "bob" not in json.dumps(said)
    assert said["call"] == "path_open"


@pytest.mark.parametrize(
    "wanted", [{"path": SECRET}, {"filter": {"path": SECRET}}, {"tenant": "globex", "path": SECRET}]
)
def test_where_no_tenant_in_reach_has_masks_it_is_on_record(keys, wanted):
    assert SECRET in json.dumps(filter_of(keys, wanted, scope="globex"))


def test_of_one_tenant_the_hash_is_on_record_by_which_the_question_can_be_found(keys):
    hashed = candidate(keys, "acme", SECRET)
    assert filter_of(keys, {"path": SECRET}, scope="acme")["path"] == hashed
    assert filter_of(keys, {"path": SECRET, "tenant": "acme"})["path"] == hashed
    assert filter_of(keys, {"filter": {"path": SECRET, "tenant": "acme"}})["filter"]["path"] == hashed
    assert filter_of(keys, {"path": SECRET, "tenants": ("acme",)})["path"] == hashed
    assert filter_of(keys, {"path": SECRET})["path"] == NOT_KEPT


def test_a_hash_that_was_searched_for_stays_as_it_is_and_what_only_begins_like_one_does_not(keys):
    hashed = candidate(keys, "acme", SECRET)
    assert filter_of(keys, {"path": hashed}, scope="acme") == {"path": hashed}
    assert "bob" not in json.dumps(filter_of(keys, {"path": f"{hashed}{SECRET}"}, scope="acme"))
    assert "bob" not in json.dumps(filter_of(keys, {"path": f"hmac:{SECRET}"}, scope="acme"))


def test_a_key_that_cannot_be_read_hides_the_value_all_the_same_and_a_question_makes_no_key(keys):
    path = keys.directory / "acme.key"
    path.chmod(0o644)
    assert filter_of(keys, {"q": f"target = '{SECRET}'"}, scope="acme") == {"q": NOT_KEPT}
    filter_of(keys, {"path": SECRET}, scope="globex")
    assert [each.name for each in keys.directory.iterdir()] == ["acme.key"]


def test_every_path_that_a_filter_takes_is_one_of_those_that_are_hidden():
    names = {name for name in RecordFilter.__slots__ if name.startswith("path") or name == "q"}
    assert names == SEARCHED


def test_a_command_hides_it_as_well(tmp_path, keys):
    from audit.wal import Kind, read_live

    question = Question("user:ann(1)", "wasmgate audit query", "*", {"path": SECRET, "tenant": "acme"})
    with recorded(tmp_path / "audit", question, keys_dir=tmp_path):
        pass
    (wal,) = (tmp_path / "audit/wal").glob("*.wal")
    events = [frame.payload for frame in read_live(wal).frames if frame.kind is Kind.EVENT]
    assert len(events) == 2
    assert not any(b"bob" in each for each in events)
