"""The second wall: what the operating system keeps a cell, and the compiler, from.

The first is the engine's sandbox with the monitor in front of it (`sandbox/monitor`). Nothing here reads a
policy document or knows a host call.
"""
