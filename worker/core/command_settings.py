"""Which settings each command reads: all are checked before it begins, so that nothing fails in the middle of it."""

from importlib import import_module

from db.settings import Environment, check_settings

_DATABASE, _POLICY = "db.settings:DatabaseSettings", "db.settings:PolicySettings"
_REVIEW, _WORKER = "db.review.settings:ReviewSettings", "worker.core.settings:WorkerSettings"
_MODEL, _HEALTH = "worker.core.settings:ModelSettings", "worker.core.settings:HealthSettings"
_CONSOLE, _PSEUDONYMS = "db.console.settings:ConsoleSettings", "db.privacy.pseudonyms:PseudonymSettings"
_OIDC = "db.console.oidc.settings:OidcSettings"

#: By the first word of a command; those of the trainer read none. `tests/unit/worker/core` compares it with the code.
SETTINGS: dict[str, tuple[str, ...]] = {
    "score": (_MODEL,),
    "inspect": ("worker.core.settings:ProvenanceSettings", _DATABASE, _MODEL),
    "enqueue": (_DATABASE,),
    "worker": (_WORKER, _PSEUDONYMS),
    "status": (_DATABASE, "worker.core.settings:BrokerSettings", _HEALTH),
    "health": (_HEALTH,),
    "sweep": (_WORKER,),
    "image": (_DATABASE,),
    "failures": (_DATABASE,),
    "model": (_DATABASE, _MODEL, _POLICY),
    "threshold": (_DATABASE, _POLICY),
    "policy": (_DATABASE,),
    "pause": (_DATABASE,),
    "resume": (_DATABASE,),
    "reference": (_WORKER,),
    "rescore": (_DATABASE, _POLICY),
    "cases": (_WORKER, _REVIEW),
    "console": (_CONSOLE, _REVIEW, _POLICY, _OIDC),
    "serve": ("db.api.settings:ApiSettings",),
    "key": (_DATABASE,),
    "reviewer": (_CONSOLE, _OIDC),
    "review": (_WORKER, _REVIEW, _PSEUDONYMS),
    "webhook": (_DATABASE,),
    "account": (_DATABASE, _PSEUDONYMS),
    "retention": (_DATABASE, "db.privacy.retention:RetentionSettings"),
    "db": (_DATABASE,),
}


def settings_of(command: str) -> list[type[Environment]]:
    """The classes of settings that a command reads."""
    named = (name.split(":") for name in SETTINGS.get(command, ()))
    return [getattr(import_module(module), kind) for module, kind in named]


def check_settings_of(command: str) -> None:
    """Raises one `SettingsError` that names every bad setting of the command."""
    check_settings(settings_of(command))
