"""The errors of the trainer: one-line messages that name the thing, the value and the limit."""


class TrainerError(Exception):
    """The base class of all errors that the trainer raises on purpose."""


class Rejected(TrainerError):  # noqa: N818 - it is an answer rather than an error
    """The decoder refuses this image.

    ``reason`` is a code for metrics; ``limit`` is what is allowed and ``value`` is what the image has.
    """

    def __init__(self, reason: str, limit: str, value: str) -> None:
        super().__init__(f"{reason}: {value} (allowed: {limit})")
        self.reason = reason
        self.limit = limit
        self.value = value


class ManifestError(TrainerError):
    """The manifest cannot be used as it is."""


class WeightsError(TrainerError):
    """Backbone weights are missing, or are not what they claim to be."""


class CheckpointError(TrainerError):
    """A checkpoint file cannot be read, or does not fit this software."""


class ShortcutError(TrainerError):
    """How the files are stored gives the labels of training pictures away, without a look at a face.

    ``columns`` are the file facts that do, with their cross-validated balanced accuracy.
    """

    def __init__(self, columns: dict[str, float], remedy: str) -> None:
        named = ", ".join(f"{name} ({accuracy:.2f})" for name, accuracy in columns.items())
        super().__init__(f"file properties give the labels away without a look at a face: {named}. {remedy}")
        self.columns = columns
