"""Checks that kombu and Celery still have what this package overrides: some of it has no public name.

A release that renames such a method would not fail: it would call its own, and messages would go unchecked.
"""

import inspect
from importlib import import_module
from importlib.metadata import version

from worker.core.errors import BrokerError

#: Methods that we override or call, and their parameters after ``self``; None: any.
_NEEDED: tuple[tuple[str, str, tuple[str, ...] | None], ...] = (
    ("kombu.transport.redis", "QoS.append", ("message", "delivery_tag")),
    ("kombu.transport.redis", "QoS.ack", ("delivery_tag",)),
    ("kombu.transport.virtual", "QoS.append", ("message", "delivery_tag")),
    ("kombu.transport.virtual", "QoS.ack", ("delivery_tag",)),
    ("kombu.transport.redis", "Channel.QoS", None),
    ("kombu.transport.redis", "Channel._brpop_read", ("options",)),
    ("kombu.transport.redis", "Channel._connparams", ("asynchronous",)),
    ("kombu.transport.redis", "Channel._q_for_pri", ("queue", "pri")),
    ("kombu.transport.redis", "Transport.Channel", None),
    ("kombu.transport.redis", "Transport._deliver", ("message", "queue")),
    ("kombu.transport", "TRANSPORT_ALIASES", None),
    ("celery.worker.consumer", "Consumer.ensure_connected", ("conn",)),
    ("celery.worker.consumer", "Consumer.register_with_event_loop", ("hub",)),
    ("celery.worker.consumer", "Consumer.on_ready", ()),
    ("celery.worker.consumer", "Consumer.on_connection_error_after_connected", ("exc",)),
    ("celery.worker.consumer", "Consumer.stop", ()),
    ("celery.app.task", "Context", None),
)


def check_libraries(library: str) -> None:
    """Raises `BrokerError`, which names the library ("kombu", "celery"), its version and what has changed in it."""
    for module, name, parameters in _NEEDED:
        if module.partition(".")[0] == library:
            _check(module, name, parameters)


def _check(module: str, name: str, parameters: tuple[str, ...] | None) -> None:
    try:
        found: object = import_module(module)
    except Exception as error:
        why = f"cannot import {module} ({type(error).__name__}: {error}), perhaps for want of a package"
        raise _unsupported(module, why) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise _unsupported(module, f"has no {module}.{name}")
        found = getattr(found, part)
    if parameters is None or not callable(found):
        return
    has = tuple(inspect.signature(found).parameters)[1:]
    if has != parameters:
        raise _unsupported(module, f"has another {module}.{name}, with the parameters ({', '.join(has)})")


def _unsupported(module: str, why: str) -> BrokerError:
    library = module.partition(".")[0]
    return BrokerError(
        f"{library} {version(library)} {why}: this software cannot run with it. "
        "Install the version in deploy/constraints.txt"
    )
