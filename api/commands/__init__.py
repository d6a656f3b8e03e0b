"""The commands, one file each, of one shape: a `COMMAND` for `api.cli`, and functions that do its work.

What several commands show or load lives beside this folder. INVARIANT: whatever takes time to import is
imported when a command runs.
"""

from __future__ import annotations
