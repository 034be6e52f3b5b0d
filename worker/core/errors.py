"""The worker's errors, each with a one-line message that names the thing, the value and the limit."""


class WorkerError(Exception):
    """The base of every error that the worker raises on purpose."""


class _CodedError(WorkerError):
    """An error with a ``reason`` that can be counted: a code, such as "not_found"."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class FetchError(_CodedError):
    """The photo could not be fetched.

    ``transient``: another attempt may succeed. ``not_yet``: it may succeed if the upload is fresh and the host not
    ready. ``retry_after_s``: the host asks for a pause of so many seconds.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        transient: bool = False,
        not_yet: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(reason, detail)
        self.transient = transient
        self.not_yet = not_yet
        self.retry_after_s = retry_after_s


class DecoderError(_CodedError):
    """The decoder did not survive the picture, or ran over a limit."""


class OutOfDomainError(_CodedError):
    """The detector was not made for this photo."""


class ScoringError(WorkerError):
    """A model gave no usable score."""


class StoppingError(WorkerError):
    """This worker gave up its images; another will score them."""


class BrokerError(WorkerError):
    """The broker cannot be reached."""


class UsageError(WorkerError):
    """A command or setting asked for something that cannot be done."""
