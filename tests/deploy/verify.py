"""``make verify-deploy``: what public tools say of ``deploy/``, and which version said it.

A tool that is not there is named, and only with CI_STRICT set is that a failure: nobody has all of them.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from tests.deploy.docs import PROJECT

DEPLOY = PROJECT / "deploy"
#: Kubernetes' own schemas: the oldest that most run, and the newest that the validator has.
KUBERNETES = ("1.30", "1.34", "1.37")
ENOUGH_TO_SHOW = 2000


@dataclass(frozen=True, slots=True)
class Tool:
    """A public tool: what says its version, and what its questions begin with."""

    version: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one tool found of one thing; ``ok`` is None where there is no such tool."""

    what: str
    tool: str
    ok: bool | None
    said: str = ""


def findings(folder: Path) -> Iterator[Finding]:
    """Everything, tool by tool; ``folder`` is for what is made on the way."""
    for check in (_compose, _kubernetes, _prometheus, _units, _scripts):
        yield from check(folder)


def _compose(_folder: Path) -> Iterator[Finding]:
    tool = _first(
        Tool(("docker", "compose", "version"), ("docker", "compose")),
        Tool(("docker-compose", "version"), ("docker-compose",)),
        Tool(("podman-compose", "version"), ("podman-compose",)),
    )
    for name, files in {"compose.yaml": ["compose.yaml"], "with a GPU": ["compose.yaml", "compose.gpu.yaml"]}.items():
        chosen = [part for file in files for part in ("-f", str(DEPLOY / file))]
        yield _ask(name, tool, [*chosen, "config"])


def _kubernetes(folder: Path) -> Iterator[Finding]:
    tool = _first(
        Tool(("kustomize", "version"), ("kustomize", "build")),
        Tool(("kubectl", "version", "--client"), ("kubectl", "kustomize")),
    )
    for name in ("cpu", "gpu", "training"):
        built = folder / f"{name}.yaml"
        found = _ask(f"k8s/{name}", tool, [str(DEPLOY / "k8s" / name), "-o", str(built)])
        yield found
        if found.ok:
            yield from _schemas(name, built)


def _schemas(name: str, built: Path) -> Iterator[Finding]:
    """The real schemas; KEDA's kinds are not among them, and the tool says so."""
    beside = Path(sys.executable).parent / "kubernetes-validate"
    tool = _first(Tool((str(beside), "--version"), (str(beside),)))
    for version in KUBERNETES:
        said = f"k8s/{name}, schemas of Kubernetes {version}"
        yield _ask(said, tool, ["--strict", "--quiet", "-k", version, str(built)])


def _prometheus(_folder: Path) -> Iterator[Finding]:
    tool = _first(Tool(("promtool", "--version"), ("promtool",)))
    rules, tests = DEPLOY / "prometheus" / "rules.yaml", PROJECT / "tests" / "deploy" / "rules.test.yaml"
    config = DEPLOY / "prometheus" / "prometheus.yaml"
    yield _ask("alert rules", tool, ["check", "rules", str(rules)])
    yield _ask("alerts fire and keep quiet", tool, ["test", "rules", str(tests)])
    yield _ask("prometheus.yaml", tool, ["check", "config", "--syntax-only", str(config)])


def _units(folder: Path) -> Iterator[Finding]:
    """With a program that exists in place of /opt/unmask's, which is not installed here."""
    tool = _first(Tool(("systemd-analyze", "--version"), ("systemd-analyze",)))
    for source in (DEPLOY / "systemd").glob("unmask-*"):
        unit = folder / source.name.replace("@.", "@0.")
        unit.write_text(source.read_text().replace("/opt/unmask/bin/unmask", shutil.which("true") or "/bin/true"))
        yield _ask(unit.name, tool, ["verify", str(unit)])
        if unit.suffix == ".service":
            yield _ask(
                f"{unit.name}, exposure below 2", tool, ["security", "--offline=true", "--threshold=20", str(unit)]
            )


def _scripts(_folder: Path) -> Iterator[Finding]:
    tool = _first(Tool(("shellcheck", "--version"), ("shellcheck",)))
    yield _ask("secrets.sh", tool, [str(DEPLOY / "secrets.sh")])


def _first(*tools: Tool) -> Tool | None:
    """The first of several that is there, and says its version."""
    return next((tool for tool in tools if shutil.which(tool.version[0]) and not _run(tool.version).returncode), None)


def _ask(what: str, tool: Tool | None, words: Sequence[str]) -> Finding:
    if tool is None:
        return Finding(what, "no tool", ok=None)
    done = _run([*tool.words, *words])
    said = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
    version = re.search(r"\d+\.[\w.+~-]+|\d{3}", _run(tool.version).stdout)
    name = " ".join(Path(part).name for part in tool.words)
    return Finding(what, f"{name} {version[0] if version else '(version unknown)'}", done.returncode == 0, said)


def _run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


def report(found: Finding, say: Callable[[str], None] = click.echo) -> None:
    """One line, and what the tool said where it found fault."""
    word = {True: "ok", False: "FAULT", None: "missing"}[found.ok]
    say(f"{word:<8} {found.what:<44} {found.tool}")
    if found.ok is False:
        say(found.said[-ENOUGH_TO_SHOW:])


def main() -> int:
    """Everything that there is a tool for; 1 at any fault, and in CI_STRICT for a missing tool."""
    bad = (False, None) if os.environ.get("CI_STRICT") else (False,)
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        for found in findings(Path(folder)):
            report(found)
            status = 1 if found.ok in bad else status
    return status


if __name__ == "__main__":
    sys.exit(main())
