"""What the gateway's processes must know of one another: how much of a token's limits is left, and replies that may be asked for again."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from webapp.backends.models import ApiToken


class Allowance(models.Model):
    """What is left of the limits of one token. Both buckets refill evenly, a minute's worth a minute, and hold at most that.

    `tokens_left` may be negative: what a request used is known only afterwards, and is paid back before the next one is let in.
    """

    token = models.OneToOneField(ApiToken, on_delete=models.CASCADE, primary_key=True, related_name="allowance")
    requests_left = models.FloatField()
    tokens_left = models.FloatField()
    refilled_at = models.FloatField(help_text="Seconds since the epoch.")
    month = models.CharField(max_length=7, help_text="That of `spent`, e.g. 2026-11.")
    spent = models.DecimalField(max_digits=16, decimal_places=8, default=0)

    def __str__(self) -> str:
        return f"{self.token}: {self.requests_left:.0f} requests, {self.tokens_left:.0f} tokens"


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
