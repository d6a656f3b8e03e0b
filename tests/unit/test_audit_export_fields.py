"""The table of fields covers every column, and the page about it is current."""

from __future__ import annotations

import pytest

from audit.columns import SCHEMA
from audit.export.fields import CEF_LABELS, FIELDS, SHARED
from tests import reference_export


def test_every_column_has_a_row_in_the_stored_order():
    assert [field.column for field in FIELDS] == SCHEMA.names


def test_no_two_columns_share_an_exact_place_or_a_key():
    assert len({field.ocsf for field in FIELDS}) == len(FIELDS)
    keys = [field.cef for field in FIELDS if field.cef is not None]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("key", CEF_LABELS)
def test_a_field_for_ones_own_use_is_labelled_and_used(key):
    assert key in {field.cef for field in FIELDS}


def test_every_field_for_ones_own_use_is_labelled():
    own = {
        field.cef
        for field in FIELDS
        if field.cef and field.cef[:2] in {"cs", "cn"} and field.cef[2:].isdigit()
    }
    assert own == set(CEF_LABELS)


def test_columns_that_are_grouped_by_are_no_bytes():
    assert not {"payload", "payload_sha256"} & set(SHARED)


def test_the_page_of_exports_is_current(golden):
    golden("../../docs/reference/export-fields.md", reference_export.page())
