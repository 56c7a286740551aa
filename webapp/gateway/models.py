"""What the gateway's processes must know of one another: replies that may be asked for again."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class IdempotentReply(models.Model):
    """The answer to a POST that carried an Idempotency-Key; `status` is None while it is being worked out."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    path = models.CharField(max_length=64)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of what was asked.")
    status = models.PositiveSmallIntegerField(null=True)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        verbose_name_plural = "idempotent replies"
        constraints = [models.UniqueConstraint(fields=["user", "path", "key"], name="one_reply_a_key")]

    def __str__(self) -> str:
        return f"{self.path} {self.key}"
