"""Keep the searches that a user named."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from search.models import SavedSearch
from webapp.accounts.models import User
from webapp.patterns import sanitize
from webapp.patterns.errors import InputError

MAX_SAVED = 200
MAX_NAME_CHARS = 100
MAX_ADDRESS_CHARS = 3000


def save_search(*, user: User, name: str, address: str) -> SavedSearch:
    """Save a search under a name. A search that has the name is replaced.

    Raises:
        InputError: the name is empty, the search is too long, or the user has MAX_SAVED searches.
    """
    name = _clean_name(name)
    if len(address) > MAX_ADDRESS_CHARS:
        raise InputError("This search is too long to be saved", param="address")
    if SavedSearch.objects.filter(user=user).exclude(name=name).count() >= MAX_SAVED:
        raise InputError(f"You can keep {MAX_SAVED} searches. Delete one first.", param="name")
    return SavedSearch.objects.update_or_create(user=user, name=name, defaults={"address": address})[0]


def rename_search(*, saved: SavedSearch, name: str) -> None:
    """Rename a saved search.

    Raises:
        InputError: the name is empty, or another search has it.
    """
    saved.name = _clean_name(name)
    try:
        with transaction.atomic():
            saved.save(update_fields=["name"])
    except IntegrityError as error:
        raise InputError(f"You already have a search named “{saved.name}”", param="name") from error


def _clean_name(name: str) -> str:
    cleaned = " ".join(sanitize.text(name).split())[:MAX_NAME_CHARS].strip()
    if not cleaned:
        raise InputError("Enter a name for the search", param="name")
    return cleaned
