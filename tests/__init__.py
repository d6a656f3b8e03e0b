"""The tests; `tests/unit/` mirrors the modules of the four packages."""
