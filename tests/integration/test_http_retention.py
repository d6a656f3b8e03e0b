"""Holds and deletions over HTTP: for operators of all tenants, on record, and dry unless it is said."""

from __future__ import annotations

import pytest

from audit.identity import new_uuid
from tests.http_service import *  # noqa: F403
