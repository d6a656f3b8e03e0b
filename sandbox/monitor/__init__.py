"""The reference monitor: generated WebAssembly that decides and records each host call, and its readers.

What a host call may do is decided in `calls/` and `paths.py`, recorded in `kernel.py`, and read
back by `decode.py`.
Starting it with a guest is the matter of `sandbox/engine_wasmtime.py`.
"""
