"""What hostile documents cost: CPU time and peak memory of each, and the verdict.

Each document is read, checked and compiled in a process of its own: `python benchmarks/hostile_documents.py`.
That they are refused, and with which finding, is asserted in `tests/unit/test_policy_hostile.py`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from policy.compiler import compile_policy
from policy.document import load_document
from policy.errors import PolicyError
from tests.hostile import DOCUMENTS


def main() -> None:
    """Print a line for each document, the slowest last."""
    lines: list[tuple[float, str]] = []
    for name in sys.argv[1:] or ["", *DOCUMENTS]:
        command = [sys.executable, __file__, f"={name}"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        lines.append((float(said.split()[0]), said.rstrip()))
    print("seconds   MiB  document: verdict")
    for _, line in sorted(lines):
        print(line)


def measure(name: str) -> None:
    """Read one document, and print what it took; the empty name is the process itself."""
    text = DOCUMENTS[name]() if name else b""
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        document = load_document(text, file="p.toml" if name.startswith("toml") else "p.yaml")
        compile_policy(document, base_dir="/srv", now_ns=None)
        verdict = "compiles"
    except PolicyError as err:
        verdict = f"{len(err.findings)} x {err.findings[0].id}: {err.findings[0].sentence[:60]}"
        for finding in err.findings:
            finding.render_with_source()
    took = time.process_time() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024
    print(f"{took:7.2f} {peak:5.0f}  {name or '(nothing)'}: {verdict}")


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("="):
        measure(sys.argv[1][1:])
    else:
        main()
