"""``make verify-deploy``: what public tools say of ``deploy/``, and which version said it.

A tool that is not there is named, and only with CI_STRICT set is that a failure: nobody has all of them.
"""

import os
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
class Finding:
    """What one tool found of one thing; ``ok`` is None where there is no such tool."""

    what: str
    tool: str
    ok: bool | None
    said: str = ""


def findings(folder: Path) -> Iterator[Finding]:
    """Everything, tool by tool; ``folder`` is for what is made on the way."""
    for check in (_compose, _kubernetes, _prometheus, _units, _image):
        yield from check(folder)


def _compose(folder: Path) -> Iterator[Finding]:
    tool = _first(["docker", "compose"], ["docker-compose"], ["podman-compose"])
    secrets = folder / "secrets"
    _run([str(DEPLOY / "secrets.sh"), str(secrets)])
    for name, files in {"compose.yaml": ["compose.yaml"], "with a GPU": ["compose.yaml", "compose.gpu.yaml"]}.items():
        chosen = [part for file in files for part in ("-f", str(DEPLOY / file))]
        yield _ask(name, tool, [*chosen, "--profile", "watch", "--profile", "admin", "config"], "version")


def _kubernetes(folder: Path) -> Iterator[Finding]:
    tool = _first(["kustomize", "build"], ["kubectl", "kustomize"])
    for name in ("cpu", "gpu", "training"):
        built = folder / f"{name}.yaml"
        found = _ask(f"k8s/{name}", tool, [str(DEPLOY / "k8s" / name), "-o", str(built)], "version")
        yield found
        if found.ok:
            yield from _schemas(name, built)


def _schemas(name: str, built: Path) -> Iterator[Finding]:
    """The real schemas; KEDA's kinds are not among them, and the tool says so."""
    beside = Path(sys.executable).parent / "kubernetes-validate"
    tool = [str(beside)] if beside.exists() else _first(["kubernetes-validate"])
    for version in KUBERNETES:
        said = f"k8s/{name}, schemas of Kubernetes {version}"
        yield _ask(said, tool, ["--strict", "--quiet", "-k", version, str(built)], "--version")


def _prometheus(_folder: Path) -> Iterator[Finding]:
    tool = _first(["promtool"])
    rules, tests = DEPLOY / "prometheus" / "rules.yaml", PROJECT / "tests" / "deploy" / "rules.test.yaml"
    config = DEPLOY / "prometheus" / "prometheus.yaml"
    yield _ask("alert rules", tool, ["check", "rules", str(rules)], "--version")
    yield _ask("alerts fire and keep quiet", tool, ["test", "rules", str(tests)], "--version")
    yield _ask("prometheus.yaml", tool, ["check", "config", "--syntax-only", str(config)], "--version")


def _units(folder: Path) -> Iterator[Finding]:
    """With a program that exists in place of /opt/unmask's, which is not installed here."""
    tool = _first(["systemd-analyze"])
    for source in (DEPLOY / "systemd").glob("unmask-*"):
        unit = folder / source.name.replace("@.", "@0.")
        unit.write_text(source.read_text().replace("/opt/unmask/bin/unmask", shutil.which("true") or "/bin/true"))
        yield _ask(unit.name, tool, ["verify", str(unit)], "--version")
        if unit.suffix == ".service":
            yield _ask(unit.name, tool, ["security", "--offline=true", "--threshold=20", str(unit)], "--version")


def _image(folder: Path) -> Iterator[Finding]:
    """Nothing is built here: it takes minutes and gigabytes. A builder that parses the file is asked to stop there."""
    tool = _first(["hadolint"])
    yield _ask("Dockerfile", tool, [str(DEPLOY / "docker" / "Dockerfile")], "--version")
    shell = _first(["shellcheck"])
    yield _ask("secrets.sh", shell, [str(DEPLOY / "secrets.sh")], "--version")
    del folder


def _first(*tools: Sequence[str]) -> list[str] | None:
    """The first of several that is there, and answers."""
    for tool in tools:
        if shutil.which(tool[0]) and _run([*tool, "--help"]).returncode == 0:
            return list(tool)
    return None


def _ask(what: str, tool: Sequence[str] | None, words: Sequence[str], version: str) -> Finding:
    if tool is None:
        return Finding(what, "no tool", ok=None)
    done = _run([*tool, *words])
    said = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
    return Finding(what, _version(tool, version), done.returncode == 0, said)


def _version(tool: Sequence[str], word: str) -> str:
    asked = tool[:1] if tool[0] in {"kubectl", "kustomize"} else tool
    client = ["--client"] if tool[0] == "kubectl" else []
    done = _run([*asked, word, *client])
    lines = (done.stdout or done.stderr).strip().splitlines() or ["unknown"]
    return f"{' '.join(Path(part).name for part in tool)}: {lines[0]}"


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
