"""Define the forms for collections and documents."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib.auth.models import Group
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from search.models import DEFAULT_MODEL, Collection
from search.ranking.reranking import RERANKER
from webapp.accounts.models import User


def _models(user: User, *, embeddings: bool) -> list[tuple[str, str]]:
    from webapp.backends.runtime import registry

    offered = async_to_sync(registry.offered)(user)
    usable = [model for model in offered if (model.embeddings if embeddings else model.chat and not model.embeddings)]
    return [(model.name, model.name if model.up else f"{model.name} (down)") for model in usable]


def _rankers(user: User) -> list[tuple[str, str]]:
    """Return the rerankers, then the language models. The built-in backend has neither."""
    from webapp.backends.runtime import registry

    offered = [model for model in async_to_sync(registry.offered)(user) if not model.builtin]
    rerankers = [model.name for model in offered if RERANKER.search(model.name)]
    writers = [model.name for model in offered if model.chat and not model.embeddings and model.name not in rerankers]
    return [(name, name) for name in (*rerankers, *writers)]


class NewCollectionForm(forms.Form):
    """A new collection."""

    name = forms.CharField(max_length=100)
    description = forms.CharField(max_length=300, required=False)
    model = forms.ChoiceField(label=gettext_lazy("Embedding model"))

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = _models(user, embeddings=True) or [(DEFAULT_MODEL, DEFAULT_MODEL)]
        field.initial = DEFAULT_MODEL


class GroupsField(forms.ModelMultipleChoiceField):
    """Groups, looked up among the offered ones, so that a number beyond the database's range causes no query."""

    def clean(self, value: Any) -> Any:
        """Accept only groups that the form offers."""
        offered = {str(pk) for pk in self.queryset.values_list("pk", flat=True)} if self.queryset is not None else set()
        for given in value or ():
            if str(given) not in offered:
                raise forms.ValidationError(self.error_messages["invalid_choice"], params={"value": str(given)[:40]})
        return super().clean(value)


class CollectionForm(forms.Form):
    """A collection's name, and the groups that may read it."""

    name = forms.CharField(max_length=100)
    description = forms.CharField(max_length=300, required=False)
    groups = GroupsField(
        queryset=Group.objects.none(),
        required=False,
        label=gettext_lazy("Shared with"),
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("Members of these groups can search and read it."),
    )
    describe_with = forms.ChoiceField(
        required=False,
        label=gettext_lazy("Summaries and tags"),
        help_text=gettext_lazy("This model describes each new document. Its usual price applies."),
    )
    describe_existing = forms.BooleanField(required=False, label=gettext_lazy("Also describe the existing documents"))
    rerank_with = forms.ChoiceField(
        required=False,
        label=gettext_lazy("Rerank results by"),
        help_text=gettext_lazy(
            "After Enter, this model puts the 30 best passages into order, also for the API and the chat. Its usual price applies."
        ),
    )

    def __init__(self, user: User, collection: Collection, *args: Any, **kwargs: Any) -> None:
        initial = {
            "name": collection.name,
            "description": collection.description,
            "groups": collection.groups.all(),
            "describe_with": collection.describe_with,
            "rerank_with": collection.rerank_with,
        }
        super().__init__(*args, **kwargs)
        self.initial = initial
        groups = self.fields["groups"]
        assert isinstance(groups, forms.ModelMultipleChoiceField)
        # Keep the present values as options, even if the owner left the group or the model's backend is off: saving must not undo them.
        groups.queryset = Group.objects.filter(Q(user=user) | Q(collections=collection)).distinct()
        self._offer("describe_with", _models(user, embeddings=False), collection.describe_with)
        self._offer("rerank_with", _rankers(user), collection.rerank_with)

    def _offer(self, name: str, models: list[tuple[str, str]], present: str) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        choices = [("", _("None")), *models]
        if present not in dict(choices):
            choices.append((present, _("%(model)s (not available)") % {"model": present}))
        field.choices = choices


class ModelForm(forms.Form):
    """Another embedding model for a collection."""

    model = forms.ChoiceField(label=gettext_lazy("Embedding model"))

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = _models(user, embeddings=True)


class PasteForm(forms.Form):
    """A typed or pasted text."""

    name = forms.CharField(max_length=200, required=False, label=gettext_lazy("Title"))
    text = forms.CharField(widget=forms.Textarea(attrs={"rows": 6}), max_length=2_000_000)
