"""Sockets of WASI 0.1, which can only use descriptors that were handed over open.

No plan hands one over yet, so a plan refuses all four by name; where a test allows them the host
answers by itself. The socket provider comes with the network section of the policy.
"""

from __future__ import annotations

from sandbox.monitor.calls.shape import on_descriptor

FUNCTIONS = (
    on_descriptor("sock_accept", "fd", "flags", "result"),
    on_descriptor("sock_recv", "fd", "ri_data", "ri_data_len", "ri_flags", "ro_datalen", "ro_flags"),
    on_descriptor("sock_send", "fd", "si_data", "si_data_len", "si_flags", "so_datalen"),
    on_descriptor("sock_shutdown", "fd", "how"),
)
