"""Choose the companion of an index: a second model, whose ranking *Both* adds where query and passage are English (docs/adr/0025).

The multilingual model reads English a little worse than the English one, and the two err on different questions.
"""

from __future__ import annotations

from importlib.util import find_spec

from search.models import Collection, Index
from webapp.backends.models import RouteStep
from webapp.backends.services.seeding import BUILTIN
from webapp.builtin import E5, MINILM

MULTILINGUAL = f"{BUILTIN}/{E5.name}"
ENGLISH = f"{BUILTIN}/{MINILM.name}"


def companion_model(model: str) -> str:
    """Return the model of the companion of an index that asks for `model`; empty for none."""
    steps = [f"{backend}/{name}" for backend, name in RouteStep.objects.filter(route__name=model).values_list("backend__name", "model")]
    return ENGLISH if [MULTILINGUAL] in ([model], steps) and find_spec(MINILM.package) else ""


def add_companion(collection: Collection, model: str, state: Index.State) -> None:
    """Give a locked collection whose serving index asks for `model` its companion, unless it has one or needs none."""
    wanted = companion_model(model)
    if wanted and collection.companion_id is None:
        collection.companion = Index.objects.create(collection=collection, model=wanted, state=state)
        collection.save(update_fields=["companion"])


def choose_companion(collection: Collection, former: Index | None) -> None:
    """Set the companion of a locked collection after a change of its serving index. A former English index becomes it."""
    assert collection.serving is not None
    wanted = companion_model(collection.serving.model)
    if not wanted:
        collection.companion = None
    elif collection.companion is None and former is not None and former.answered_by == MINILM.name:
        collection.companion = former
    collection.save(update_fields=["companion"])
