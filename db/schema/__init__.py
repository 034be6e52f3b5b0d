"""The tables. Constraints live in the database, so that they hold for every language that writes to it.

Scores, thresholds and reviews are appended, never changed. Ids are text of at most 128 characters.
"""

from db.schema.base import ID_LENGTH, Base, BigId
from db.schema.cases import CASE_STATES, DECISIONS, Appeal, Case, Flag, Review
from db.schema.images import IMAGE_STATES, Image, Look, Preview, Request
from db.schema.keeping import Lock, RetentionPass, SchemaSupport
from db.schema.models import RESCORE_STATES, VERSION_STATES, ModelVersion, Promotion, ReferenceSet, Rescore, Score
from db.schema.people import ROLES, AuditEntry, Person, SignIn, SignInLink, SignInTry
from db.schema.policy import PAUSABLE, Pause, Threshold
from db.schema.samples import STRATA, VERDICTS, Draw, Sample, Verdict
from db.schema.webhooks import CASE_EVENTS, DELIVERY_STATES, Delivery, WebhookSwitch

__all__ = [
    "CASE_EVENTS",
    "CASE_STATES",
    "DECISIONS",
    "DELIVERY_STATES",
    "ID_LENGTH",
    "IMAGE_STATES",
    "PAUSABLE",
    "RESCORE_STATES",
    "ROLES",
    "STRATA",
    "VERDICTS",
    "VERSION_STATES",
    "Appeal",
    "AuditEntry",
    "Base",
    "BigId",
    "Case",
    "Delivery",
    "Draw",
    "Flag",
    "Image",
    "Lock",
    "Look",
    "ModelVersion",
    "Pause",
    "Person",
    "Preview",
    "Promotion",
    "ReferenceSet",
    "Request",
    "Rescore",
    "RetentionPass",
    "Review",
    "Sample",
    "SchemaSupport",
    "Score",
    "SignIn",
    "SignInLink",
    "SignInTry",
    "Threshold",
    "Verdict",
    "WebhookSwitch",
]
