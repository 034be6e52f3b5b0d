"""A library that lost what we override is refused at the start, by its name and version."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from worker.broker.library_check import check_libraries
from worker.core.errors import BrokerError

ROOT = Path(__file__).parents[4]
#: The real library, changed as another release might be, and then our command.
CHANGED = """
import sys, {module}
{change}
sys.argv[1:] = {arguments}
from worker.cli import main
main()
"""


def test_the_pinned_libraries_are_as_we_need_them() -> None:
    check_libraries("kombu")
    check_libraries("celery")


@pytest.mark.parametrize(
    ("owner", "name", "changed"),
    [
        ("kombu.transport.redis.Channel", "_brpop_read", None),
        ("kombu.transport.redis.Channel", "_q_for_pri", lambda _self, _queue, _pri, _more: None),
        ("kombu.transport.redis.Transport", "_deliver", lambda _self, _message: None),
        ("kombu.transport.virtual.base.QoS", "append", lambda _self, _message: None),
        ("celery.worker.consumer.consumer.Consumer", "ensure_connected", None),
    ],
)
def test_what_changed_is_named_with_the_library_and_its_version(
    monkeypatch: pytest.MonkeyPatch, owner: str, name: str, changed: object
) -> None:
    if changed is None:
        monkeypatch.delattr(f"{owner}.{name}")
    else:
        monkeypatch.setattr(f"{owner}.{name}", changed)
    library = owner.partition(".")[0]
    with pytest.raises(BrokerError, match=f"^{library} {version(library)} has (no|another) .*{name}"):
        check_libraries(library)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "change", "arguments", "message"),
    [
        ("kombu.transport.redis", "del kombu.transport.redis.Channel._brpop_read", ["sweep"], "Channel._brpop_read"),
        ("kombu.transport.redis", "del kombu.transport.redis.Channel._brpop_read", ["worker"], "Channel._brpop_read"),
        (
            "celery.worker.consumer.consumer",
            "del celery.worker.consumer.consumer.Consumer.on_ready",
            ["worker"],
            "on_ready",
        ),
    ],
)
def test_a_command_that_needs_the_broker_says_so_and_exits_with_2(
    tmp_path: Path, module: str, change: str, arguments: list[str], message: str
) -> None:
    program = CHANGED.format(module=module, change=change, arguments=arguments)
    environ = os.environ | {"PYTHONPATH": str(ROOT), "UNMASK_DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    library = module.partition(".")[0]
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"Error: {library} {version(library)} has no ")
    assert message in done.stderr
