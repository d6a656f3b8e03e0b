"""The WebAssembly toolkit: a reader of modules, pure functions from bytes to values."""

from __future__ import annotations
