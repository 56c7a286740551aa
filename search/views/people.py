"""Identify the user, and the collections that the user may read or change."""

from __future__ import annotations

from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from search import selectors
from search.models import Collection
from webapp.accounts.models import User


def who(request: HttpRequest) -> User:
    """Return the signed-in user. For views behind `login_required`."""
    assert isinstance(request.user, User)
    return request.user


def owned_collection(request: HttpRequest, pk: int) -> Collection:
    """Return a collection of the user; 404 for any other."""
    return get_object_or_404(Collection, pk=pk, owner=who(request))


def readable_collection(request: HttpRequest, pk: int) -> Collection:
    """Return a collection that the user may read; 404 for any other."""
    return get_object_or_404(selectors.collections(who(request)).select_related("serving", "owner"), pk=pk)
