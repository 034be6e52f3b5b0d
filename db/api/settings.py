"""The settings of the HTTP API: ``UNMASK_API_*`` variables."""

from pydantic import PositiveFloat, PositiveInt

from db.settings import DatabaseSettings, PhotoSourceSettings


class ApiSettings(DatabaseSettings, PhotoSourceSettings):
    """The settings that the HTTP API reads at its start."""

    #: Bytes of one photo. Workers refuse photos of more than 20 MiB.
    api_max_photo_bytes: PositiveInt = 20 * 1024 * 1024
    #: Bytes of all photos that the database keeps until they are scored; beyond it the API accepts URLs only.
    api_max_stored_bytes: PositiveInt = 2 * 1024**3
    #: Images of a lane that may wait for their score; beyond it the API refuses photos for this lane.
    api_max_waiting: PositiveInt = 100_000
    #: Concurrent requests, with those that wait for a verdict; and the bytes of their bodies together.
    api_max_requests: PositiveInt = 256
    api_max_body_bytes: PositiveInt = 256 * 1024 * 1024
    #: Open connections. Beyond it the server closes the connection that has been idle for longest.
    api_max_connections: PositiveInt = 1024
    #: How long a client may take to send its headers, and its body.
    api_header_timeout_s: PositiveFloat = 10.0
    api_body_timeout_s: PositiveFloat = 60.0
    #: Seconds between two queries for the photos whose verdicts requests wait for.
    api_poll_s: PositiveFloat = 0.05
