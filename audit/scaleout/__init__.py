"""More than one machine: the same segments in ClickHouse, and on object storage.

What is recorded, sealed and signed lives in the rest of `audit`; nothing here is needed for that. INVARIANT:
what is loaded or pushed is what the transparency log names, and only `clickhouse.py` and `objects.py` import
the libraries that reach other machines.
"""

from __future__ import annotations
