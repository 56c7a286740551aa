"""Collections of documents, their passages, and the indexes over the passages."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy

from search.index.analysis import index_words

DEFAULT_MODEL = "embed"
"""The default route for embedding, unless the owner picks another model."""


class Leased(models.Model):
    """Work that one process at a time may do.

    `fence` grows with each claim. A write with an older number has lost its lease and is rejected (`webapp.core.leases`).
    """

    owner = models.CharField(max_length=100, blank=True, default="", editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    fence = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        abstract = True


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
    rerank_with = models.CharField(
        "reranked by",
        max_length=300,
        blank=True,
        help_text="A reranker or a language model that orders the best passages of a search.",
    )
    serving = models.OneToOneField("Index", null=True, on_delete=models.SET_NULL, related_name="+")
    companion = models.OneToOneField(
        "Index",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Ranks beside the serving one.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    api_name = models.CharField(  # noqa: DJ001 - a client may give an empty name
        max_length=512,
        null=True,
        blank=True,
        editable=False,
        help_text="The name in /v1/vector_stores, where it differs from `name`.",
    )
    metadata = models.JSONField(default=dict, blank=True, help_text="Key-value pairs of /v1/vector_stores.")
    expires_after_days = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Days without use until its documents are deleted."
    )
    last_active_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_collection_a_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def expires_at(self) -> datetime | None:
        """Return the time at which the collection expires; None if it does not."""
        if self.expires_after_days is None:
            return None
        return (self.last_active_at or self.created_at) + timedelta(days=self.expires_after_days)

    @property
    def is_expired(self) -> bool:
        """Return whether the collection has expired."""
        return self.expires_at is not None and self.expires_at <= timezone.now()


class Index(Leased):
    """One generation of a collection's vectors, all from one model. `search.index` stores them.

    A collection has one serving index, perhaps a companion (`search.index.companion`), perhaps one that is being built, and perhaps the one
    that served before.
    """

    class State(models.TextChoices):
        BUILDING = "building", gettext_lazy("Building")
        READY = "ready", gettext_lazy("Ready")
        FAILED = "failed", gettext_lazy("Failed")

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
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = gettext_lazy("indexes")

    def __str__(self) -> str:
        return f"{self.model} ({self.state})"


class Upload(models.Model):
    """Files that a user added at once. The collection's page shows the progress of reading them, also after a reload."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="uploads")
    announced = models.PositiveIntegerField(help_text="The number of files that the browser was about to send.")
    existed = models.PositiveIntegerField(default=0, help_text="Files whose content the collection already held.")
    existing = models.JSONField(default=list, blank=True, help_text="The names of the first few of them.")
    refused = models.JSONField(default=list, blank=True, help_text=gettext_lazy('Files that were not stored: [{"name", "why"}].'))
    received = models.PositiveIntegerField(default=0, help_text="Files that arrived, stored or not.")
    dismissed = models.BooleanField(default=False)
    active_at = models.DateTimeField(auto_now_add=True, help_text="The time at which the last files arrived.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.received} of {self.announced} files"


class FileBatch(models.Model):
    """Files that a client of `/v1/vector_stores` added to a collection together."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="file_batches")
    is_cancelled = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = gettext_lazy("file batches")

    def __str__(self) -> str:
        return self.api_id

    @property
    def api_id(self) -> str:
        """Return its id in the API."""
        return f"vsfb_{self.pk.hex}"


class Document(Leased):
    """A file or a pasted text. A document that is being deleted is not shown anywhere; a worker removes it."""

    class State(models.TextChoices):
        QUEUED = "queued", gettext_lazy("Queued")
        PARSING = "parsing", gettext_lazy("Reading")
        EMBEDDING = "embedding", gettext_lazy("Embedding")
        READY = "ready", gettext_lazy("Ready")
        FAILED = "failed", gettext_lazy("Failed")
        CANCELLED = "cancelled", gettext_lazy("Cancelled")
        DELETING = "deleting", gettext_lazy("Deleting")

    class Failure(models.TextChoices):
        """The kinds of failures that `/v1/vector_stores` tells apart."""

        SERVER = "server_error", gettext_lazy("server error")
        UNSUPPORTED = "unsupported_file", gettext_lazy("unsupported file")
        INVALID = "invalid_file", gettext_lazy("invalid file")

    UNDER_WAY = (State.QUEUED, State.PARSING, State.EMBEDDING)
    UNUSABLE = (State.FAILED, State.CANCELLED, State.DELETING)
    RETRIABLE = (State.FAILED, State.CANCELLED)

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
    pages = models.JSONField(default=list, blank=True, help_text="Of a PDF: the offset in the text at which each page begins.")
    upload = models.ForeignKey(Upload, null=True, blank=True, on_delete=models.SET_NULL, related_name="documents")
    failure = models.CharField(max_length=20, choices=Failure.choices, blank=True)
    file_id = models.UUIDField(null=True, blank=True, db_index=True, help_text="The file of /v1/files that it was made from.")
    attributes = models.JSONField(default=dict, blank=True, help_text="Key-value pairs of /v1/vector_stores, for filters.")
    passage_tokens = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Longest passage in tokens; empty for the default.")
    overlap_tokens = models.PositiveSmallIntegerField(default=0, help_text="Tokens that neighboring passages share.")
    batch = models.ForeignKey(FileBatch, null=True, blank=True, on_delete=models.SET_NULL, related_name="documents")
    replaces = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    tries = models.PositiveSmallIntegerField(default=0, help_text="How often reading it began and did not end.")
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["collection", "digest"]),
            models.Index(fields=["state", "lease_until"]),
            models.Index(fields=["collection", "-created_at", "id"], name="documents_newest_first"),
            # The order of the list in a state; the rest is for counts, which so do not read the documents with their texts.
            models.Index(fields=["collection", "state", "-created_at", "id", "kind", "passages", "size"], name="documents_listed"),
            models.Index(fields=["collection"], condition=~models.Q(tags=[]), name="documents_with_tags"),
            models.Index(fields=["state", "collection"], condition=models.Q(to_describe=True), name="documents_to_be_described"),
        ]
        constraints = [models.UniqueConstraint(fields=["collection", "file_id"], name="one_document_a_file")]

    def __str__(self) -> str:
        return self.name

    @property
    def under_way(self) -> bool:
        """Return whether the document is being read or waits for it."""
        return self.state in self.UNDER_WAY

    @property
    def api_id(self) -> str:
        """Return its id in the API: the file's that it was made from, or its own."""
        return f"file-{(self.file_id or self.pk).hex}"


class Source(Leased):
    """A place whose files or pages a collection follows: additions, changes, and deletions."""

    class Kind(models.TextChoices):
        FOLDER = "folder", gettext_lazy("Folder")
        PAGES = "pages", gettext_lazy("Web pages")
        SITEMAP = "sitemap", gettext_lazy("Sitemap")

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="sources")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    address = models.TextField(help_text="The path of a folder, the addresses of pages (one a line), or the address of a sitemap.")
    depth = models.PositiveSmallIntegerField(
        default=0, help_text="How many links away from the listed pages further pages of the site are read."
    )
    max_pages = models.PositiveIntegerField(default=200)
    every_minutes = models.PositiveIntegerField(default=1440, help_text="Minutes between two reads.")
    next_read_at = models.DateTimeField(null=True, blank=True, db_index=True)
    last_read_at = models.DateTimeField(null=True, blank=True)
    why = models.CharField(max_length=500, blank=True, help_text="Why the last read failed.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.address.split("\n", 1)[0]


class SourceItem(models.Model):
    """A file of a folder, or a web page, with the document that it became.

    An item without a document was deleted in the collection. It becomes a document again when it changes.
    """

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="items")
    address = models.TextField(help_text="The path in the folder, or the address of the page.")
    key = models.CharField(max_length=64, help_text="SHA-256 of the address: it may be too long for an index.")
    document = models.ForeignKey(Document, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    version = models.CharField(max_length=200, blank=True, help_text="Size and time of a file, or SHA-256 of a page.")
    etag = models.CharField(max_length=500, blank=True)
    last_modified = models.CharField(max_length=100, blank=True)
    why = models.CharField(max_length=500, blank=True, help_text="Why it could not be read.")
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["source", "key"], name="one_item_an_address")]

    def __str__(self) -> str:
        return self.address


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


class SavedSearch(models.Model):
    """A search that a user named, to open it again."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_searches")
    name = models.CharField(max_length=100)
    address = models.CharField(max_length=3000, help_text="The query string of the search page, with its question mark.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = gettext_lazy("saved searches")
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="one_saved_search_a_name")]

    def __str__(self) -> str:
        return self.name


class AnswerPreference(models.Model):
    """Whether a language model answers above a user's results, and which one."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="answer_preference")
    enabled = models.BooleanField(default=False)
    model = models.CharField(max_length=300, blank=True, help_text="A route, backend/model, or a model.")

    def __str__(self) -> str:
        return self.model if self.enabled else "off"


def scope(collection_id: int) -> str:
    """Return the word that stands for a collection in the full-text index."""
    return f"c{collection_id}"
