"""What this process logs, ours and every library's: JSON, a line an event, or readable where a person looks on.

structlog formats; our modules use `logging` as libraries do, so that one place says how it all looks. Secrets are taken
out of the event before it is written, so that JSON stays JSON.
"""

import logging
import sys
import threading
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from worker.telemetry.redaction import redact
from worker.core.settings import LogSettings

#: What the line of an image says beside its outcome; libraries' own additions are left out.
IMAGE_FIELDS = (
    *("image", "attempt", "model", "reason", "detail", "left_out"),
    *("wait_s", "fetch_s", "decode_s", "forward_s", "record_s", "total_s"),
)
#: Celery says two lines a message at "info".
_TALKATIVE = ("celery.worker.strategy", "celery.app.trace")


def configure(settings: LogSettings, level: int | None = None, stream: TextIO = sys.stderr) -> None:
    """Log to a stream; ``level`` where somebody asked for another than the settings'."""
    level = getattr(logging, settings.log_level.upper()) if level is None else level
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(settings.log_format, stream))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)
    sys.excepthook = _died
    threading.excepthook = lambda args: _died(args.exc_type, args.exc_value, args.exc_traceback)


def formatter(log_format: str, stream: TextIO) -> logging.Formatter:
    """As the settings want it; "auto" is for people where the stream is a terminal."""
    terminal = stream.isatty()
    text = log_format == "text" or (log_format == "auto" and terminal)
    last: Processor = structlog.dev.ConsoleRenderer(colors=terminal) if text else structlog.processors.JSONRenderer()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(allow=IMAGE_FIELDS),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.StackInfoRenderer(),
            redact,
            last,
        ],
    )


def _died(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    """What nobody caught is logged as everything else is."""
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger(__name__).critical("nobody caught it", exc_info=(kind, error, trace))
