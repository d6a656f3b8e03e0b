"""A zygote of which every cell dies before its guest begins."""

from __future__ import annotations

from tests.frail_zygote import serve

if __name__ == "__main__":
    serve(0)
