"""Remember for each user whether answers are written above the results, and by which model."""

from __future__ import annotations

from dataclasses import dataclass, field

from asgiref.sync import async_to_sync

from search.models import AnswerPreference
from webapp.accounts.models import User
from webapp.patterns.errors import InputError


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """A user's choice, and the models to choose from. Without a language model, answers are off."""

    enabled: bool = False
    model: str = ""
    models: list[str] = field(default_factory=list)


def answer_settings(user: User) -> AnswerSettings:
    """Return the user's choice. If the chosen model is gone, the first offered one takes its place."""
    models = _language_models(user)
    kept = AnswerPreference.objects.filter(user=user).first()
    if not models:
        return AnswerSettings()
    model = kept.model if kept and kept.model in models else models[0]
    return AnswerSettings(bool(kept and kept.enabled), model, models)


def set_answer_preference(*, user: User, enabled: bool, model: str) -> None:
    """Store the user's choice.

    Raises:
        InputError: the model is not offered to the user.
    """
    if model not in _language_models(user):
        raise InputError("This model is not available", param="model")
    AnswerPreference.objects.update_or_create(user=user, defaults={"enabled": enabled, "model": model})


def _language_models(user: User) -> list[str]:
    """Return the models that can write; the built-in backend only imitates one."""
    from webapp.backends.runtime import registry

    offered = async_to_sync(registry.offered)(user)
    return [model.name for model in offered if model.chat and not model.embeddings and not model.builtin]
