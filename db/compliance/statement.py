"""One statement of reasons, as the EU's DSA transparency database takes it, and what is wrong with one.

The attributes, their values and limits are those of the database's API documentation (version of July 2025):
https://transparency.dsa.ec.europa.eu/page/api-documentation. This checks locally; nothing here sends anything.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Visibility = Literal[
    "DECISION_VISIBILITY_CONTENT_REMOVED",
    "DECISION_VISIBILITY_CONTENT_DISABLED",
    "DECISION_VISIBILITY_CONTENT_DEMOTED",
    "DECISION_VISIBILITY_CONTENT_AGE_RESTRICTED",
    "DECISION_VISIBILITY_CONTENT_INTERACTION_RESTRICTED",
    "DECISION_VISIBILITY_CONTENT_LABELLED",
    "DECISION_VISIBILITY_OTHER",
]
Account = Literal["DECISION_ACCOUNT_SUSPENDED", "DECISION_ACCOUNT_TERMINATED"]
Provision = Literal[
    "DECISION_PROVISION_PARTIAL_SUSPENSION",
    "DECISION_PROVISION_TOTAL_SUSPENSION",
    "DECISION_PROVISION_PARTIAL_TERMINATION",
    "DECISION_PROVISION_TOTAL_TERMINATION",
]
Monetary = Literal["DECISION_MONETARY_SUSPENSION", "DECISION_MONETARY_TERMINATION", "DECISION_MONETARY_OTHER"]
Ground = Literal["DECISION_GROUND_ILLEGAL_CONTENT", "DECISION_GROUND_INCOMPATIBLE_CONTENT"]
ContentType = Literal[
    "CONTENT_TYPE_APP",
    "CONTENT_TYPE_AUDIO",
    "CONTENT_TYPE_IMAGE",
    "CONTENT_TYPE_PRODUCT",
    "CONTENT_TYPE_SYNTHETIC_MEDIA",
    "CONTENT_TYPE_TEXT",
    "CONTENT_TYPE_VIDEO",
    "CONTENT_TYPE_OTHER",
]
Category = Literal[
    "STATEMENT_CATEGORY_ANIMAL_WELFARE",
    "STATEMENT_CATEGORY_CONSUMER_INFORMATION",
    "STATEMENT_CATEGORY_CYBER_VIOLENCE",
    "STATEMENT_CATEGORY_CYBER_VIOLENCE_AGAINST_WOMEN",
    "STATEMENT_CATEGORY_DATA_PROTECTION_AND_PRIVACY_VIOLATIONS",
    "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH",
    "STATEMENT_CATEGORY_INTELLECTUAL_PROPERTY_INFRINGEMENTS",
    "STATEMENT_CATEGORY_NEGATIVE_EFFECTS_ON_CIVIC_DISCOURSE_OR_ELECTIONS",
    "STATEMENT_CATEGORY_NOT_SPECIFIED_NOTICE",
    "STATEMENT_CATEGORY_OTHER_VIOLATION_TC",
    "STATEMENT_CATEGORY_PROTECTION_OF_MINORS",
    "STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY",
    "STATEMENT_CATEGORY_SCAMS_AND_FRAUD",
    "STATEMENT_CATEGORY_SELF_HARM",
    "STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS",
    "STATEMENT_CATEGORY_VIOLENCE",
]
Source = Literal["SOURCE_ARTICLE_16", "SOURCE_TRUSTED_FLAGGER", "SOURCE_TYPE_OTHER_NOTIFICATION", "SOURCE_VOLUNTARY"]
Automated = Literal["AUTOMATED_DECISION_FULLY", "AUTOMATED_DECISION_PARTIALLY", "AUTOMATED_DECISION_NOT_AUTOMATED"]
#: The countries of the European Economic Area: all that a territorial scope may name.
EEA = (
    "AT",
    "BE",
    "BG",
    "CY",
    "CZ",
    "DE",
    "DK",
    "EE",
    "ES",
    "FI",
    "FR",
    "GR",
    "HR",
    "HU",
    "IE",
    "IS",
    "IT",
    "LI",
    "LT",
    "LU",
    "LV",
    "MT",
    "NL",
    "NO",
    "PL",
    "PT",
    "RO",
    "SE",
    "SI",
    "SK",
)
_FIRST_CONTENT, _FIRST_APPLICATION = date(2000, 1, 1), date(2020, 1, 1)

Text500 = Annotated[str, Field(min_length=1, max_length=500)]
Text2000 = Annotated[str, Field(min_length=1, max_length=2000)]
Text5000 = Annotated[str, Field(min_length=1, max_length=5000)]
YesNo = Literal["Yes", "No"]


class Statement(BaseModel):
    """A statement of reasons; it must hold no personal data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    puid: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,500}$")]
    decision_visibility: list[Visibility] | None = None
    decision_visibility_other: Text500 | None = None
    decision_monetary: Monetary | None = None
    decision_monetary_other: Text500 | None = None
    decision_provision: Provision | None = None
    decision_account: Account | None = None
    account_type: Literal["ACCOUNT_TYPE_BUSINESS", "ACCOUNT_TYPE_PRIVATE"] | None = None
    decision_ground: Ground
    decision_ground_reference_url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=500)] | None = None
    illegal_content_legal_ground: Text500 | None = None
    illegal_content_explanation: Text2000 | None = None
    incompatible_content_ground: Text500 | None = None
    incompatible_content_explanation: Text2000 | None = None
    incompatible_content_illegal: YesNo | None = None
    content_type: Annotated[list[ContentType], Field(min_length=1)]
    content_type_other: Text500 | None = None
    category: Category
    category_addition: list[Category] | None = None
    category_specification: list[Annotated[str, Field(pattern=r"^KEYWORD_[A-Z_]+$")]] | None = None
    category_specification_other: Text500 | None = None
    territorial_scope: Annotated[list[str], Field(min_length=1)]
    content_language: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    content_date: date
    application_date: date
    end_date_account_restriction: date | None = None
    end_date_monetary_restriction: date | None = None
    end_date_service_restriction: date | None = None
    end_date_visibility_restriction: date | None = None
    decision_facts: Text5000
    source_type: Source
    source_identity: Text500 | None = None
    automated_detection: YesNo
    automated_decision: Automated

    @model_validator(mode="after")
    def _check(self) -> Self:
        wrong = [*self._missing(), *self._bad_dates()]
        if foreign := sorted(set(self.territorial_scope) - set(EEA)):
            wrong.append(f"territorial_scope has {', '.join(foreign)}, which is not in the EEA")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _missing(self) -> list[str]:
        """The fields that other fields ask for."""
        illegal = self.decision_ground == "DECISION_GROUND_ILLEGAL_CONTENT"
        restrictions = (
            self.decision_visibility,
            self.decision_monetary,
            self.decision_provision,
            self.decision_account,
        )
        needed = {
            "one of decision_visibility, _monetary, _provision and _account": not any(restrictions),
            "decision_visibility_other": "DECISION_VISIBILITY_OTHER" in (self.decision_visibility or [])
            and not self.decision_visibility_other,
            "decision_monetary_other": self.decision_monetary == "DECISION_MONETARY_OTHER"
            and not self.decision_monetary_other,
            "illegal_content_legal_ground": illegal and not self.illegal_content_legal_ground,
            "illegal_content_explanation": illegal and not self.illegal_content_explanation,
            "incompatible_content_ground": not illegal and not self.incompatible_content_ground,
            "incompatible_content_explanation": not illegal and not self.incompatible_content_explanation,
            "content_type_other": "CONTENT_TYPE_OTHER" in self.content_type and not self.content_type_other,
        }
        return [f"{name} is missing" for name, missing in needed.items() if missing]

    def _bad_dates(self) -> list[str]:
        ends = {name: getattr(self, name) for name in type(self).model_fields if name.startswith("end_date_")}
        early = [name for name, end in ends.items() if end is not None and end < self.application_date]
        wrong = [f"{name} is before application_date" for name in early]
        wrong += [f"content_date is before {_FIRST_CONTENT}"] if self.content_date < _FIRST_CONTENT else []
        wrong += (
            [f"application_date is before {_FIRST_APPLICATION}"] if self.application_date < _FIRST_APPLICATION else []
        )
        return wrong


def problems(document: object) -> list[str]:
    """What the database would refuse in a statement, as a document; empty when nothing."""
    if not isinstance(document, Mapping):
        return ["not a JSON object"]
    try:
        Statement.model_validate(dict(document), strict=False)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc'])) or 'statement'}: {each['msg']}" for each in error.errors()]
    return []


def as_document(statement: Statement) -> dict[str, Any]:
    """The statement as the API takes it; fields without a value are left out."""
    return statement.model_dump(mode="json", exclude_none=True)
