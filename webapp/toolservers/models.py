"""Tool servers (MCP), the tools they list, and the calls that were made."""

from __future__ import annotations

import json

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from webapp.backends.config.crypto import Secret, SecretField
from webapp.backends.models import Route
from webapp.patterns.mcp.types import CALL_SECONDS, MAX_RESULT_CHARS

MAX_CALLS = 20


class ToolServer(models.Model):
    """A server reached by `url`, or started by `command`. `owner` is None for those that everybody may use.

    `headers`, `environment` and `oauth` are JSON objects, stored encrypted.
    """

    name = models.CharField(max_length=60, help_text=_("Begins the names of its tools, and is its server_label in /v1/responses."))
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="tool_servers")
    url = models.CharField(max_length=500, blank=True)
    command = models.JSONField(default=list, blank=True, help_text=_("The program and its arguments."))
    headers = SecretField(blank=True, default=Secret)
    environment = SecretField(blank=True, default=Secret)
    oauth = SecretField(blank=True, default=Secret)
    enabled = models.BooleanField(default=True)
    on_by_default = models.BooleanField("on in new conversations", default=True)
    routes = models.ManyToManyField(Route, blank=True, related_name="tool_servers", help_text=_("Empty for all routes and models."))
    call_seconds = models.FloatField("seconds a call may take", default=CALL_SECONDS)
    result_chars = models.PositiveIntegerField("characters kept of a result", default=MAX_RESULT_CHARS)
    max_calls = models.PositiveIntegerField("calls in one answer", default=MAX_CALLS)
    checked_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=1000, blank=True)
    sign_in_needed = models.BooleanField(default=False)
    protocol = models.CharField(max_length=20, blank=True)
    software = models.CharField(max_length=300, blank=True, help_text=_("What the server calls itself, with its version."))
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "id"]
        verbose_name = _("tool server")
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(owner=None), name="one_shared_tool_server_a_name"),
            models.UniqueConstraint(fields=["owner", "name"], name="one_own_tool_server_a_name"),
        ]

    def __str__(self) -> str:
        return self.name


class ServerTool(models.Model):
    """A tool as its server listed it last."""

    class Approval(models.TextChoices):
        BY_SERVER = "", _("Ask, unless the server marks it read-only")
        ALWAYS = "always", _("Always allow")
        ASK = "ask", _("Ask before each call")
        NEVER = "never", _("Never")

    server = models.ForeignKey(ToolServer, on_delete=models.CASCADE, related_name="tools")
    name = models.CharField(max_length=200)
    title = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    schema = models.JSONField(default=dict)
    read_only = models.BooleanField(default=False)
    destructive = models.BooleanField(default=True)
    approval = models.CharField(max_length=6, choices=Approval.choices, blank=True, default=Approval.BY_SERVER)
    changed_at = models.DateTimeField(null=True, blank=True, help_text=_("When its definition last changed after it was first listed."))

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["server", "name"], name="one_tool_a_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def schema_text(self) -> str:
        """Return the schema as people read it."""
        return json.dumps(self.schema, indent=2, ensure_ascii=False)

    @property
    def effective_approval(self) -> str:
        """Return `always`, `ask` or `never`."""
        if self.approval:
            return self.approval
        return self.Approval.ALWAYS if self.read_only else self.Approval.ASK


class ServerCall(models.Model):
    """One call of a tool, kept for a while."""

    server = models.ForeignKey(ToolServer, on_delete=models.CASCADE, related_name="calls")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    tool = models.CharField(max_length=200)
    source = models.CharField(max_length=12, help_text=_("chat or responses."))
    conversation = models.CharField(max_length=64, blank=True)
    request_id = models.UUIDField(null=True, blank=True, db_index=True, help_text=_("Of the attempts of the same answer."))
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    ms = models.PositiveIntegerField()
    chars = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("tool call")

    def __str__(self) -> str:
        return f"{self.server} {self.tool}"


class OAuthFlow(models.Model):
    """A sign-in at a tool server that is under way. Its callback may reach another process than the one that waits."""

    state = models.CharField(max_length=128, unique=True)
    server = models.ForeignKey(ToolServer, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    code = models.TextField(blank=True)
    issuer = models.CharField(max_length=500, blank=True)
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.server} since {self.created_at}"
