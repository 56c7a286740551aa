"""Conversations as trees of messages, and the generations that write answers."""

from __future__ import annotations

import itertools
import secrets
import time
import uuid
from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext

DEFAULT_MODEL = "default"
ASSISTANT = "assistant:"
"""Comes before the id of an assistant where a model's name could stand."""
_COUNTER_BITS = 31
_counter = itertools.count(secrets.randbits(_COUNTER_BITS))


def search_number(at: datetime | None = None) -> int:
    """Return a unique integer for a message, larger for later ones: the full-text index lists matches in its order.

    Args:
        at: when the message was written; now if not given. Its second is in the upper bits, a counter with a random start in the lower.
    """
    seconds = max(0, int(at.timestamp() if at else time.time()))
    return (seconds << _COUNTER_BITS) | (next(_counter) % (1 << _COUNTER_BITS))


class Assistant(models.Model):
    """A model with a system prompt, settings, and starters, which its owner and those it is shared with choose like a model."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="assistants")
    name = models.CharField(max_length=60)
    icon = models.CharField(max_length=16, blank=True, help_text="An emoji.")
    description = models.CharField(max_length=200, blank=True)
    model = models.CharField(max_length=300, help_text="A route, backend/model, or a model id.")
    system_prompt = models.TextField(blank=True)
    options = models.JSONField(default=dict, blank=True, help_text="As the `options` of a conversation.")
    starters = models.JSONField(default=list, blank=True, help_text="Questions that a new chat offers.")
    shared = models.BooleanField(default=False, help_text="With every user.")
    groups = models.ManyToManyField("auth.Group", blank=True, related_name="+")

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="one_assistant_a_name")]
        indexes = [models.Index(fields=["name", "id"], name="chat_assistants")]

    def __str__(self) -> str:
        return f"{self.icon} {self.name}".strip()

    @property
    def choice(self) -> str:
        """Return the value that chooses this assistant where a model is chosen."""
        return f"{ASSISTANT}{self.id}"


class Conversation(models.Model):
    """A tree of messages. `leaf` is the end of the shown branch."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=200, blank=True)
    titled = models.BooleanField(default=False, help_text="Named by the user or by a model: no more automatic titles.")
    leaf = models.ForeignKey("Message", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    model = models.CharField(max_length=300, default=DEFAULT_MODEL, help_text="A route, backend/model, or a model id.")
    assistant = models.ForeignKey(Assistant, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    system_prompt = models.TextField(blank=True)
    summary = models.JSONField(default=dict, blank=True, help_text="The rolling summary of what no longer fits, and what it covers.")
    options = models.JSONField(default=dict, blank=True, help_text="temperature, top_p, max_tokens, tools, response_format …")
    folder = models.CharField(max_length=100, blank=True)
    pinned = models.BooleanField(default=False)
    archived = models.BooleanField(default=False)
    analysis = models.JSONField(
        default=dict, blank=True, help_text="Summary, tags and confidence, as a model saw them (`chat.generation.analysis`)."
    )
    share_token = models.CharField(max_length=40, null=True, blank=True, unique=True)
    # Null means no: SQLite would rebuild the table for a column that is not null, and the triggers of the search refer to it.
    share_live = models.BooleanField(null=True, blank=True, help_text="The shared page follows the conversation.")
    share_leaf = models.ForeignKey(
        "Message",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Where the shared page ends if it is not live.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-updated_at"]
        # SQLite cannot search an index by `NOT archived`, so the lists have partial indexes.
        indexes = [
            models.Index(fields=["user", "-updated_at", "-id"], name="chat_latest"),
            models.Index(fields=["user", "folder", "-updated_at", "-id"], condition=Q(archived=False, pinned=False), name="chat_listed"),
            models.Index(fields=["user", "-updated_at", "-id"], condition=Q(archived=False, pinned=True), name="chat_pinned"),
            models.Index(fields=["user", "-updated_at", "-id"], condition=Q(archived=True), name="chat_archived"),
        ]

    def __str__(self) -> str:
        return self.title or gettext("New chat")

    @property
    def choice(self) -> str:
        """Return what the model picker shows as chosen: the assistant, or the model."""
        return self.assistant.choice if self.assistant else self.model


class Message(models.Model):
    """A question or an answer. Its siblings (same parent) are the other branches."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    class Status(models.TextChoices):
        STREAMING = "streaming"
        DONE = "done"
        STOPPED = "stopped"
        INTERRUPTED = "interrupted"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    role = models.CharField(max_length=10, choices=Role.choices)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.DONE)
    text = models.TextField(blank=True, help_text="What was written, without reasoning and tools: for titles, search and export.")
    parts = models.JSONField(default=list, blank=True, help_text="Of an answer: text, reasoning and tool calls in order.")
    attachments = models.JSONField(default=list, blank=True, help_text="Of a question: images and files.")
    html = models.TextField(blank=True, editable=False, help_text="The rendered parts of a finished answer.")
    model = models.CharField(max_length=300, blank=True, help_text="The route or model that was asked for.")
    compare = models.UUIDField(
        null=True, blank=True, editable=False, help_text="Shared by answers that stand side by side to be picked from."
    )
    finish_reason = models.CharField(max_length=20, blank=True)
    error = models.CharField(max_length=2000, blank=True)
    trail = models.JSONField(default=list, blank=True, help_text="Who was tried, and how it went.")
    report = models.JSONField(default=dict, blank=True, help_text="What of the history was sent: tokens, window, what was left out.")
    search_id = models.BigIntegerField(default=search_number, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [models.Index(fields=["conversation", "created_at"])]

    def __str__(self) -> str:
        return f"{self.role}: {self.text[:40]}"


class SentRequest(models.Model):
    """The body that one attempt of an answer sent. Stored apart from the messages, because it holds the whole history."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="requests")
    number = models.PositiveSmallIntegerField(help_text="The attempt's place in the message's trail.")
    base_url = models.CharField(max_length=500)
    body = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["message", "number"], name="one_request_an_attempt")]

    def __str__(self) -> str:
        return f"{self.message_id}: attempt {self.number}"


class Upload(models.Model):
    """A file from the composer, stored under its id (`chat.uploads`). It is deleted with its conversation."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="chat_uploads")
    conversation = models.ForeignKey(Conversation, null=True, blank=True, on_delete=models.CASCADE, related_name="uploads")
    name = models.CharField(max_length=200)
    type = models.CharField(max_length=100)
    size = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return self.name


class Prompt(models.Model):
    """A text that its owner (and, if shared, every user) inserts with `/name`. The composer asks for `{{variables}}`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="prompts")
    name = models.CharField(max_length=40)
    text = models.TextField()
    shared = models.BooleanField(default=False)

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="one_prompt_a_name")]

    def __str__(self) -> str:
        return f"/{self.name}"


class Owner(models.Model):
    """A server process that runs generations. A new `seen_at` is its sign of life; other processes do not compare it with their clocks."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    process = models.CharField(max_length=100, default="", help_text="Its name (`webapp.core.leases.this_worker`).")
    seen_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.id)


class Generation(models.Model):
    """One run that writes one answer. A conversation has one at a time, over all processes; a comparison uses more slots."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="generations")
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="generations")
    owner = models.UUIDField(db_index=True)
    slot = models.PositiveSmallIntegerField(default=0)
    running = models.BooleanField(default=True)
    stop_requested = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["conversation", "slot"], condition=Q(running=True), name="one_answer_at_a_time"),
        ]
        indexes = [models.Index(fields=["owner"], condition=Q(running=True), name="chat_running_by_owner")]

    def __str__(self) -> str:
        return str(self.id)


class LogRow(models.Model):
    """Keep the events that a generation emitted since its last row, numbered without gaps. Rows go once the answer is complete."""

    generation = models.ForeignKey(Generation, on_delete=models.CASCADE, related_name="log")
    seq = models.PositiveIntegerField()
    events = models.JSONField()

    class Meta:
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(fields=["generation", "seq"], name="one_row_a_number")]

    def __str__(self) -> str:
        return f"{self.generation_id}#{self.seq}"
