"""Store replies that may be repeated, and the responses and conversations of `/v1/responses` and `/v1/conversations`."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy

MAX_ID_CHARS = 100


class IdempotentReply(models.Model):
    """The answer to a POST that carried an Idempotency-Key; `status` is None while it is being worked out."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    path = models.CharField(max_length=64)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text=gettext_lazy("SHA-256 of what was asked."))
    status = models.PositiveSmallIntegerField(null=True)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        verbose_name_plural = gettext_lazy("idempotent replies")
        constraints = [models.UniqueConstraint(fields=["user", "path", "key"], name="one_reply_a_key")]

    def __str__(self) -> str:
        return f"{self.path} {self.key}"


class StoredConversation(models.Model):
    """Keep a conversation of `/v1/conversations`."""

    id = models.CharField(primary_key=True, max_length=MAX_ID_CHARS)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["user", "-created_at"])]

    def __str__(self) -> str:
        return self.id


class ConversationItem(models.Model):
    """Keep one item of a conversation; rows are ordered by their number."""

    conversation = models.ForeignKey(StoredConversation, on_delete=models.CASCADE, related_name="items")
    key = models.CharField(max_length=MAX_ID_CHARS, help_text=gettext_lazy("The item's id."))
    data = models.JSONField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["conversation", "key"], name="one_item_an_id")]

    def __str__(self) -> str:
        return self.key


class StoredResponse(models.Model):
    """Keep a response and, while it runs, the lease of the process that runs it."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        IN_PROGRESS = "in_progress"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"
        INCOMPLETE = "incomplete"

    ACTIVE = (Status.QUEUED, Status.IN_PROGRESS)

    id = models.CharField(primary_key=True, max_length=MAX_ID_CHARS)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    token = models.ForeignKey("backends.ApiToken", null=True, on_delete=models.SET_NULL, related_name="+")
    request_id = models.UUIDField(help_text=gettext_lazy("Of the request that created it: the key of its attempts."))
    status = models.CharField(max_length=12, choices=Status.choices)
    background = models.BooleanField(default=False)
    streamed = models.BooleanField(default=False, help_text=gettext_lazy("The caller asked for a stream."))
    model = models.CharField(max_length=300, help_text=gettext_lazy("The route or model that was asked for."))
    previous = models.CharField(max_length=MAX_ID_CHARS, blank=True, help_text=gettext_lazy("The id of the previous response."))
    conversation = models.ForeignKey(StoredConversation, null=True, on_delete=models.SET_NULL, related_name="responses")
    request = models.JSONField(default=dict, help_text=gettext_lazy("The body as the caller wrote it, without the input."))
    input = models.JSONField(default=list, help_text=gettext_lazy("The request's own items, in full form."))
    response = models.JSONField(default=dict, help_text=gettext_lazy("The response object."))
    events = models.PositiveIntegerField(default=0, help_text=gettext_lazy("How many events its log has."))
    cancel_requested = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    owner = models.CharField(max_length=120, blank=True, help_text=gettext_lazy("The process that runs it."))
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["user", "-created_at"]),
            models.Index(fields=["created_at"]),
            models.Index(fields=["status"], condition=Q(status__in=("queued", "in_progress")), name="active_responses"),
        ]

    def __str__(self) -> str:
        return self.id


class ResponseEvents(models.Model):
    """Keep a run of neighboring events of a response, as the server-sent events that the client gets."""

    response = models.ForeignKey(StoredResponse, on_delete=models.CASCADE, related_name="log")
    first = models.PositiveIntegerField(help_text=gettext_lazy("The sequence number of the first event."))
    last = models.PositiveIntegerField(help_text=gettext_lazy("The sequence number of the last event."))
    data = models.TextField()

    class Meta:
        ordering = ["first"]
        constraints = [models.UniqueConstraint(fields=["response", "first"], name="one_row_a_first_event")]

    def __str__(self) -> str:
        return f"{self.response_id} {self.first}-{self.last}"
