"""Put texts of other apps (the results of a batch) into a collection of their owner."""

from __future__ import annotations

from django.urls import reverse

from search import services
from webapp.accounts.models import User
from webapp.ports.text_collections import Files


def collect(user: User, name: str, files: Files) -> str:
    """Implement `webapp.ports.text_collections`."""
    collection = services.default_collection(owner=user, name=name)
    for filename, content in files:
        services.add_file(collection=collection, name=filename, content=content)
    return reverse("search:collection", args=[collection.pk])
