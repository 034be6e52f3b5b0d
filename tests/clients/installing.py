"""Packages of the registries, for tests alone: where they cannot be had a test is skipped, and in CI it fails."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest


def pip(folder: Path, *packages: str) -> Path:
    """Install Python packages into a folder, unless it is there already."""
    if not folder.exists():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]
        _fetch([*install, str(folder), *packages], folder.parent)
    return folder


def npm(folder: Path, *packages: str) -> None:
    """Install npm packages into the ``node_modules`` of a folder."""
    _need_node()
    _fetch(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages], folder)


def npm_pack(project: Path, folder: Path) -> str:
    """The file that would be published of a project."""
    _need_node()
    return str(folder / _fetch(["npm", "pack", "--silent", str(project)], folder).strip())


def _need_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        _give_up("Node is not installed (Debian: nodejs, npm)")


def _fetch(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        _give_up(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _give_up(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def wheel(project: Path, folder: Path) -> None:
    """Build the wheel of a project into a folder, as `make dist` does."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _fetch([*build, "--wheel-dir", str(folder), str(project)], folder)
