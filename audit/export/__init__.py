"""Exports of records: one module for each form, all of one shape, and the manifest that goes with a file.

Which records are exported is the caller's question (`audit.filters`), and who may ask is decided in `api`.
INVARIANT: a form gives every row that it was handed, in order, or says how many it left out.
"""

from __future__ import annotations
