"""Arguments and environment: what the plan grants is all there is, so reading it is never refused.

The values themselves are set up in the cell; no value is ever recorded. INVARIANT: an empty grant
is an empty list, not the host's.
"""

from __future__ import annotations

from sandbox.monitor.calls.shape import plain

FUNCTIONS = (
    plain("args_get", "argv", "argv_buf"),
    plain("args_sizes_get", "argc", "argv_buf_size"),
    plain("environ_get", "environ", "environ_buf"),
    plain("environ_sizes_get", "environc", "environ_buf_size"),
)
