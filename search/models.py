"""Collections of documents, their passages, and the indexes over the passages."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models

from search.index.analysis import index_words

DEFAULT_MODEL = "embed"
"""The default route for embedding, unless the owner picks another model."""


class Collection(models.Model):
    """Documents that are searched together. The owner changes it; members of `groups` may search and read."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="collections")
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=300, blank=True)
    groups = models.ManyToManyField(Group, blank=True, related_name="collections")
    conversation = models.UUIDField(null=True, blank=True, unique=True, editable=False, help_text="The chat that its documents belong to.")
    describe_with = models.CharField(
        "summaries by", max_length=300, blank=True, help_text="A language model that writes summaries and tags."
    )
    serving = models.OneToOneField("Index", null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_collection_a_name")]

    def __str__(self) -> str:
        return self.name


class Index(models.Model):
    """One generation of a collection's vectors, all from one model. `search.index` stores them.

    A collection has one serving index, perhaps one that is being built, and perhaps the one that served before.
    """

    class State(models.TextChoices):
        BUILDING = "building", "Building"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="indexes")
    model = models.CharField(max_length=300, help_text="What is asked for: a route, backend/model, or a model.")
    answered_by = models.CharField(max_length=300, blank=True, help_text="The model that made the vectors; others are refused.")
    query_prompt = models.CharField(
        max_length=200, blank=True, default="", editable=False, help_text="Put in front of a query before it is embedded."
    )
    passage_prompt = models.CharField(
        max_length=200, blank=True, default="", editable=False, help_text="Put in front of a passage before it is embedded."
    )
    dimension = models.PositiveIntegerField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.BUILDING)
    why = models.CharField(max_length=500, blank=True)
    generation = models.PositiveIntegerField(default=0, help_text="Raised when its files are written anew.")
    rows = models.PositiveIntegerField(default=0, help_text="Rows of its files that count; what lies behind was never committed.")
    dead = models.PositiveIntegerField(default=0, help_text="Rows among them that were deleted.")
    leased_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "indexes"

    def __str__(self) -> str:
        return f"{self.model} ({self.state})"


class Document(models.Model):
    """A file or a pasted text."""

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        PARSING = "parsing", "Reading"
        EMBEDDING = "embedding", "Embedding"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"

    UNDER_WAY = (State.QUEUED, State.PARSING, State.EMBEDDING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="documents")
    name = models.CharField(max_length=300)
    kind = models.CharField(max_length=12, blank=True, help_text="pdf, docx, xlsx, html, text and so on; found when it is read.")
    size = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the file.")
    text = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    why = models.CharField(max_length=500, blank=True)
    notes = models.JSONField(default=list, blank=True, help_text="Sentences about parts that were not read, or were guessed.")
    scanned = models.PositiveIntegerField(default=0, help_text="Pages that hold pictures and no text.")
    recognize = models.BooleanField(default=False, help_text="Read pages without text by text recognition (OCR).")
    passages = models.PositiveIntegerField(default=0)
    embedded = models.PositiveIntegerField(default=0)
    tokens = models.PositiveIntegerField(default=0)
    summary = models.CharField(max_length=1000, blank=True)
    tags = models.JSONField(default=list, blank=True)
    confidence = models.FloatField(null=True, blank=True, help_text="Of the summary and tags, as the model judged it: 0 to 1.")
    to_describe = models.BooleanField(null=True, editable=False, help_text="Its summary is to be written, when it is ready.")
    replaces = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    leased_until = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["collection", "digest"]),
            models.Index(fields=["state", "leased_until"]),
            models.Index(fields=["to_describe"], condition=models.Q(to_describe=True), name="documents_to_describe"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def under_way(self) -> bool:
        return self.state in self.UNDER_WAY


class Chunk(models.Model):
    """A passage of a document: it is embedded, ranked and shown. `start` and `end` are offsets in the document's text.

    The tokens of the full-text index (`search.index.analysis`) are set by `save`; before a bulk creation, call `set_words`.
    """

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="chunks")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+")
    scope = models.CharField(max_length=24, help_text="The collection as a word, for the full-text index.")
    heading = models.CharField(max_length=500, blank=True, help_text="The headings above it, outermost first.")
    text = models.TextField()
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    tokens = models.PositiveIntegerField()
    digest = models.CharField(max_length=64, db_index=True, help_text="Of what is embedded: equal passages are embedded once.")
    heading_words = models.TextField(blank=True, default="", editable=False)
    text_words = models.TextField(blank=True, default="", editable=False)
    word_parts = models.TextField(blank=True, default="", editable=False)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.heading} [{self.start}:{self.end}]"

    def save(self, **options: Any) -> None:
        """Save with the tokens of the text."""
        self.set_words()
        super().save(**options)

    def set_words(self) -> None:
        """Set the tokens by which full-text search finds the passage."""
        words = index_words(self.heading, self.text)
        self.heading_words, self.text_words, self.word_parts = words.heading, words.text, words.parts

    @property
    def embedded_text(self) -> str:
        """Return the text to embed, with the heading path, because a passage often does not repeat its subject."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


def scope(collection_id: int) -> str:
    """Return the word that stands for a collection in the full-text index."""
    return f"c{collection_id}"
