"""Files, batches, their rows, and the chunks in which local batches are processed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy

from webapp.core import file_store


class File(models.Model):
    """A file of `/v1/files`: uploaded, with its bytes on disk; or the output or errors of a batch, generated from its rows on request."""

    class Content(models.TextChoices):
        STORED = "stored", gettext_lazy("bytes on disk")
        OUTPUT = "output", gettext_lazy("the good rows of a batch")
        ERRORS = "errors", gettext_lazy("the failed rows of a batch")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    filename = models.TextField()
    purpose = models.CharField(max_length=32)
    bytes = models.BigIntegerField(default=0)
    content = models.CharField(max_length=8, choices=Content.choices, default=Content.STORED)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.filename

    @property
    def target(self) -> Path:
        """Return the path that the bytes are written to."""
        return Path(settings.MEDIA_ROOT) / str(self.id)

    @property
    def path(self) -> Path:
        """Return the path of the bytes, after fetching them from the file store if they are missing here."""
        return file_store.local(self.target)

    @property
    def api_id(self) -> str:
        """Return the id that the API shows: `file-` and 32 hex digits."""
        return f"file-{self.id.hex}"


class Leased(models.Model):
    """Work that one process at a time may do.

    `fence` grows with each claim. A write with an older number has lost its lease and is rejected.
    """

    owner = models.CharField(max_length=100, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class Batch(Leased):
    """A job: many requests for one endpoint and model, from one input file."""

    class Status(models.TextChoices):
        VALIDATING = "validating", gettext_lazy("Validating")
        FAILED = "failed", gettext_lazy("Failed")
        IN_PROGRESS = "in_progress", gettext_lazy("In progress")
        FINALIZING = "finalizing", gettext_lazy("Finalizing")
        COMPLETED = "completed", gettext_lazy("Completed")
        EXPIRED = "expired", gettext_lazy("Expired")
        CANCELLING = "cancelling", gettext_lazy("Cancelling")
        CANCELLED = "cancelled", gettext_lazy("Cancelled")

    ACTIVE: ClassVar = (Status.VALIDATING, Status.IN_PROGRESS, Status.FINALIZING, Status.CANCELLING)

    class Executor(models.TextChoices):
        AUTO = "auto", gettext_lazy("Remote where the backend has a Batch API, else local")
        REMOTE = "remote", gettext_lazy("The backend's own Batch API")
        LOCAL = "local", gettext_lazy("Patchbay's own runner")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="batches")
    name = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.VALIDATING)
    endpoint = models.CharField(max_length=64)
    model = models.CharField(max_length=300, blank=True)
    completion_window = models.CharField(max_length=8, default="24h")
    metadata = models.JSONField(null=True, blank=True)
    input_file = models.ForeignKey(File, null=True, on_delete=models.SET_NULL, related_name="+")
    input_id = models.UUIDField(help_text="The input file's id, which stays when the file is deleted.")
    output_file = models.OneToOneField(File, null=True, blank=True, on_delete=models.SET_NULL, related_name="output_of")
    error_file = models.OneToOneField(File, null=True, blank=True, on_delete=models.SET_NULL, related_name="errors_of")
    output_expires_seconds = models.PositiveIntegerField(null=True, blank=True)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="retries")
    first_part = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="further_parts",
        help_text="Of an input that was split.",
    )
    errors = models.JSONField(default=list, help_text="What validation found, as OpenAI's error objects.")
    paused = models.CharField(max_length=500, blank=True, help_text="Why nothing is sent at the moment.")
    paused_at = models.DateTimeField(null=True, blank=True)

    executor = models.CharField(max_length=6, choices=Executor.choices, default=Executor.AUTO)
    concurrency = models.PositiveIntegerField(default=32, help_text="Requests at once at most; fewer while backends ask for less.")
    schema = models.JSONField(null=True, blank=True, help_text="JSON schema for each answer.")
    backend = models.CharField(max_length=64, blank=True, help_text="The backend that runs a remote batch.")
    remote_model = models.CharField(max_length=200, blank=True)
    remote_id = models.CharField(max_length=200, blank=True)
    remote_file_id = models.CharField(max_length=200, blank=True)
    remote_status = models.CharField(max_length=32, blank=True)
    followed = models.BooleanField(default=False, help_text="Created by somebody else at the backend: watched, never cancelled there.")
    due_at = models.DateTimeField(default=timezone.now, help_text="When the runner looks at it next.")

    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    unsent = models.PositiveIntegerField(default=0, help_text="Of the failed: rows that were never sent, because the batch ended first.")
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=16, decimal_places=8, null=True, blank=True)
    estimate = models.JSONField(null=True, blank=True, help_text="Tokens, cost and time as estimated before anything was sent.")

    webhook_url = models.CharField(max_length=500, blank=True)
    webhook_due_at = models.DateTimeField(null=True, blank=True)
    webhook_attempts = models.PositiveSmallIntegerField(default=0)
    webhook_note = models.CharField(max_length=300, blank=True, help_text="How the last delivery went.")

    created_at = models.DateTimeField(default=timezone.now)
    in_progress_at = models.DateTimeField(null=True, blank=True)
    finalizing_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)
    cancelling_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    remote_times = models.JSONField(null=True, blank=True, help_text="When a followed job took its steps, as its backend says: Unix times.")

    class Meta:
        ordering = ["-created_at", "-id"]
        permissions = [("follow_batch", "Can list and follow batches that others created at a backend")]
        indexes = [
            models.Index(fields=["user", "-created_at"]),
            models.Index(fields=["status", "due_at"]),
        ]

    def __str__(self) -> str:
        return self.name or self.api_id

    @property
    def api_id(self) -> str:
        """Return the id that the API shows: `batch_` and 32 hex digits."""
        return f"batch_{self.id.hex}"

    @property
    def title(self) -> str:
        """Return the name for display: the batch's name, or else its file's, which may be deleted."""
        return self.name or (self.input_file.filename if self.input_file else self.api_id)

    @property
    def is_active(self) -> bool:
        """Return whether the batch can still change."""
        return self.status in self.ACTIVE

    @property
    def has_output(self) -> bool:
        """Return whether there are successful answers to download. False once their file is deleted or expired."""
        return self.completed > 0 and (self.is_active or self.output_file_id is not None)

    @property
    def has_errors(self) -> bool:
        """Return whether there are failed rows to download. False once their file is deleted or expired."""
        return self.failed > 0 and (self.is_active or self.error_file_id is not None)

    @property
    def done(self) -> int:
        """Return the number of rows that completed or failed, including those that were never sent."""
        return self.completed + self.failed

    @property
    def refused(self) -> int:
        """Return the number of rows that were sent and failed."""
        return max(0, self.failed - self.unsent)

    @property
    def answered(self) -> int:
        """Return the number of rows that were sent and have a result."""
        return self.completed + self.refused

    @property
    def all_failed(self) -> bool:
        """Return whether the batch ran to its end and no row succeeded."""
        return self.status == self.Status.COMPLETED and self.total > 0 and self.completed == 0

    def step_at(self, step: str) -> datetime | None:
        """Return the time of a step (`"created_at"`, `"in_progress_at"`, …), or None. A followed job uses the times of its backend."""
        told = (self.remote_times or {}).get(step)
        ours: datetime | None = getattr(self, step)
        return datetime.fromtimestamp(told, UTC) if told else ours

    @property
    def ended_at(self) -> Any:
        """Return the time of the batch's end, in any status; None while it runs."""
        return self.completed_at or self.failed_at or self.expired_at or self.cancelled_at


class BatchChunk(Leased):
    """A run of neighboring rows, leased to one worker at a time."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="chunks")
    first = models.PositiveIntegerField(help_text="Number of the first row.")
    last = models.PositiveIntegerField(help_text="Number of the last row.")
    done = models.BooleanField(default=False)
    sent_at = models.DateTimeField(null=True, blank=True, help_text="When it was handed to Celery.")

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["batch", "first"], condition=Q(done=False), name="open_chunks")]

    def __str__(self) -> str:
        return f"rows {self.first} to {self.last}"


class BatchRow(models.Model):
    """One request and its result. The request itself stays in the input file, at `offset`."""

    class State(models.IntegerChoices):
        PENDING = 0, gettext_lazy("Pending")
        OK = 1, gettext_lazy("Succeeded")
        FAILED = 2, gettext_lazy("Failed")
        CANCELLED = 3, gettext_lazy("Not sent")
        EXPIRED = 4, gettext_lazy("Not sent in time")

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="rows")
    number = models.PositiveIntegerField(help_text="From 1, in the order of the input.")
    custom_id = models.CharField(max_length=512)
    offset = models.BigIntegerField()
    length = models.PositiveIntegerField()
    state = models.SmallIntegerField(choices=State.choices, db_default=0, default=0)
    status_code = models.SmallIntegerField(null=True)
    error_code = models.CharField(max_length=100, db_default="", default="")
    error_message = models.TextField(db_default="", default="")
    backend = models.CharField(max_length=64, db_default="", default="")
    model = models.CharField(max_length=200, db_default="", default="")
    tries = models.PositiveSmallIntegerField(db_default=0, default=0)
    prompt_tokens = models.PositiveIntegerField(db_default=0, default=0)
    completion_tokens = models.PositiveIntegerField(db_default=0, default=0)
    cost = models.DecimalField(max_digits=14, decimal_places=8, null=True)
    duration_ms = models.FloatField(null=True)
    finished_at = models.DateTimeField(null=True)
    attempts = models.TextField(db_default="", default="", help_text="The attempt trail, as JSON.")
    response = models.TextField(db_default="", default="", help_text="The response's body as it came, on one line.")

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["batch", "number"], name="one_row_a_line")]
        indexes = [
            models.Index(fields=["batch", "state", "number"]),
            models.Index(fields=["batch", "custom_id"]),
        ]

    def __str__(self) -> str:
        return self.custom_id

    @property
    def request_id(self) -> str:
        """Return the id of this row in output files."""
        return f"batch_req_{self.batch_id.hex}{self.number:06d}"


class BatchTick(models.Model):
    """The results of one second of a batch: the points of its charts."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="ticks")
    second = models.BigIntegerField(help_text="Unix time.")
    ok = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    sum_ms = models.FloatField(default=0)
    max_ms = models.FloatField(default=0)
    tokens = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["second"]
        constraints = [models.UniqueConstraint(fields=["batch", "second"], name="one_tick_a_second")]

    def __str__(self) -> str:
        return f"{self.second}: {self.ok} ok, {self.failed} failed"
