"""Backends, routes, attempts, usage, and tokens of the gateway."""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy

from webapp.backends.config.addresses import validate_base_url, validate_headers, validate_key_variable
from webapp.backends.config.crypto import Secret, SecretField

name_validator = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z", "Use letters, digits, dot, dash and underscore.")


class ConfigState(models.Model):
    """A single row.

    `version` grows with each change of the configuration, so that every process notices it with one cheap read. `seeded` names the objects
    that the first start created, so that deleted ones stay deleted.
    """

    version = models.PositiveBigIntegerField(default=0)
    seeded = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"version {self.version}"


class Backend(models.Model):
    """One OpenAI-compatible server."""

    name = models.CharField(max_length=64, unique=True, validators=[name_validator])
    base_url = models.CharField(
        "base URL",
        max_length=500,
        validators=[validate_base_url],
        help_text=gettext_lazy("Up to and including /v1, e.g. http://localhost:11434/v1"),
    )
    preset = models.CharField(max_length=32, default="custom")
    api_key = SecretField("API key", blank=True, default=Secret)
    api_key_env = models.CharField(
        "API key variable",
        max_length=100,
        blank=True,
        validators=[validate_key_variable],
        help_text=gettext_lazy("Read the key from this environment variable instead."),
    )
    headers = models.JSONField(
        default=dict, blank=True, validators=[validate_headers], help_text=gettext_lazy("Extra headers for each request, as a JSON object.")
    )
    enabled = models.BooleanField(default=True)
    position = models.PositiveIntegerField(
        default=100, help_text=gettext_lazy("Order among backends that offer the same model. Lower comes first.")
    )
    connect_timeout = models.FloatField(default=5, validators=[MinValueValidator(0.1)], help_text=gettext_lazy("In seconds."))
    first_token_timeout = models.FloatField(default=60, validators=[MinValueValidator(0.1)], help_text=gettext_lazy("In seconds."))
    idle_timeout = models.FloatField(
        default=60, validators=[MinValueValidator(0.1)], help_text=gettext_lazy("In seconds, between two tokens.")
    )
    max_concurrency = models.PositiveIntegerField(
        null=True, blank=True, help_text=gettext_lazy("Parallel requests. Leave empty for no limit.")
    )
    input_price = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text=gettext_lazy("Per million prompt tokens.")
    )
    output_price = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text=gettext_lazy("Per million completion tokens.")
    )
    capabilities = models.JSONField(
        default=dict,
        blank=True,
        help_text=gettext_lazy("What the conformance probe found, by name: true, false, or absent for unknown."),
    )
    flagged = models.CharField(
        max_length=500, blank=True, help_text=gettext_lazy("Why an administrator must look at it (wrong key, no quota).")
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Store missing headers as an empty object."""
        self.headers = self.headers or {}  # "blank" lets an empty list pass


class Health(models.Model):
    """The health of a backend, learned from real traffic, or from `GET /v1/models` without traffic."""

    class State(models.TextChoices):
        UP = "up", gettext_lazy("Up")
        DOWN = "down", gettext_lazy("Down")
        UNKNOWN = "unknown", gettext_lazy("Not tried yet")

    backend = models.OneToOneField(Backend, on_delete=models.CASCADE, related_name="health")
    state = models.CharField(max_length=8, choices=State.choices, default=State.UNKNOWN)
    why = models.CharField(max_length=500, blank=True)
    latency_ms = models.FloatField(null=True, blank=True, help_text=gettext_lazy("To the first token, or of the list of models."))
    source = models.CharField(max_length=8, default="poll", help_text=gettext_lazy("traffic or poll."))
    checked_at = models.DateTimeField(null=True, blank=True, db_index=True)
    ok_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = gettext_lazy("health")

    def __str__(self) -> str:
        return f"{self.backend.name}: {self.state}"


class Cooldown(models.Model):
    """An open breaker of some process, published for the others (runtime/cooldowns.py). `key` is a backend, or backend/model.

    `caller` and `shape` name the requests that it blocks (`patterns.fallback.breakers.Origin`); empty for all. `limited` means that the
    pause is the wait of a rate limit. `reset_at` is the time when an administrator asked for a retry.
    """

    key = models.CharField(max_length=300, unique=True)
    until = models.DateTimeField()
    why = models.CharField(max_length=500, blank=True)
    caller = models.CharField(max_length=64, blank=True)
    shape = models.CharField(max_length=100, blank=True)
    limited = models.BooleanField(default=False)
    reset_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.key


class MovedSession(models.Model):
    """A sticky session that moved to another step because its own failed (`runtime.moved_sessions`)."""

    route = models.CharField(max_length=300)
    session = models.CharField(max_length=32, help_text="A hash of the session.")
    step = models.CharField(max_length=300, help_text="The step that answers it now, as backend/model.")
    moved_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-moved_at"]
        constraints = [models.UniqueConstraint(fields=["route", "session"], name="one_move_a_session")]

    def __str__(self) -> str:
        return f"{self.route}: {self.session} to {self.step}"


class BackendModel(models.Model):
    """A model that a backend offers."""

    backend = models.ForeignKey(Backend, on_delete=models.CASCADE, related_name="offered")
    name = models.CharField(max_length=200)
    context_window = models.PositiveIntegerField(null=True, blank=True, help_text=gettext_lazy("In tokens. Leave empty if unknown."))
    capabilities = models.JSONField(default=dict, blank=True)
    input_price = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    output_price = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    discovered = models.BooleanField(default=False, help_text=gettext_lazy("Found at /v1/models, rather than entered by hand."))

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["backend", "name"], name="one_row_a_model")]

    def __str__(self) -> str:
        return f"{self.backend.name}/{self.name}"


class Learned(models.Model):
    """A fact about a model, learned from its answers, so that the next request is right at once. An administrator can delete it.

    A repair is a change that every request to the model needs (`patterns.openai.repairs`). A window is the number of tokens to which a
    server silently truncates a longer prompt. A count is the number of tokens that the server counts for each one counted here. A lack is
    an ability that the model was found not to have; only the chat acts on it, because clients of the API must hear the refusal.
    """

    class Kind(models.TextChoices):
        REPAIR = "repair", gettext_lazy("Repair")
        WINDOW = "window", gettext_lazy("Window")
        COUNT = "count", gettext_lazy("Token count")
        LACK = "lack", gettext_lazy("Missing ability")

    backend = models.ForeignKey(Backend, on_delete=models.CASCADE, related_name="learned")
    model = models.CharField(max_length=200)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    name = models.CharField(max_length=100, blank=True, help_text=gettext_lazy("Of a repair, or of the missing ability."))
    value = models.FloatField(null=True, blank=True)
    observations = models.PositiveIntegerField(default=1)
    read_up_to = models.PositiveIntegerField(
        default=0, help_text=gettext_lazy("The longest prompt in tokens that the server reported to have read.")
    )
    why = models.CharField(max_length=500, blank=True)
    first_seen_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField()

    class Meta:
        ordering = ["model", "kind", "name"]
        verbose_name = gettext_lazy("learned fact")
        constraints = [models.UniqueConstraint(fields=["backend", "model", "kind", "name"], name="one_row_a_fact")]

    def __str__(self) -> str:
        return f"{self.backend.name}/{self.model}: {self.in_words}"

    @property
    def in_words(self) -> str:
        """Return the fact as a sentence for the backend's page."""
        if self.kind == self.Kind.REPAIR:
            return f"Requests go out {self.name}." if self.name.startswith("without ") else f"Requests go out with {self.name}."
        if self.kind == self.Kind.WINDOW:
            return f"It reads {self.value or 0:,.0f} tokens of longer prompts without saying so ({self.observations} observations)."
        if self.kind == self.Kind.LACK:
            return f"The chat asks it without {self.name} ({self.observations} observations; two are needed)."
        return f"It counts {self.value or 1:.2f} tokens for each one counted here ({self.observations} reports)."


class Route(models.Model):
    """A model name that users pick, with ordered steps of (backend, model)."""

    class MidStream(models.TextChoices):
        STOP = "stop", gettext_lazy("Stop: keep the partial answer and say so")
        RESTART = "restart", gettext_lazy("Restart: begin the answer again on the next step")
        CONTINUE = "continue", gettext_lazy("Continue: the next step continues the partial answer")

    name = models.CharField(max_length=64, unique=True, validators=[name_validator])
    description = models.CharField(max_length=200, blank=True)
    enabled = models.BooleanField(default=True)
    mid_stream = models.CharField("if a stream breaks", max_length=10, choices=MidStream.choices, default=MidStream.STOP)

    class Balance(models.TextChoices):
        ORDERED = "ordered", gettext_lazy("In order: the first step that has room")
        LEAST_BUSY = "least-busy", gettext_lazy("Least busy: the step with the fewest running requests")
        WEIGHTED = "weighted", gettext_lazy("Weighted: in proportion to the weights")
        FASTEST = "fastest", gettext_lazy("Fastest: the step with the shortest time to first token")

    balance = models.CharField(
        "load sharing",
        max_length=12,
        choices=Balance.choices,
        default=Balance.ORDERED,
        help_text=gettext_lazy("How the steps of a group share requests."),
    )
    sticky = models.BooleanField(
        "sticky sessions", default=False, help_text=gettext_lazy("Keep each conversation on one step, for the prompt cache of its server.")
    )
    hedge_ms = models.PositiveIntegerField(
        "hedge after (ms)",
        null=True,
        blank=True,
        help_text=gettext_lazy("Start the next step if no first token has arrived after this long."),
    )
    restricted = models.BooleanField(
        default=False, help_text=gettext_lazy("Only the users and groups below can use this route. With none left, nobody can use it.")
    )
    allowed_users = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True)
    allowed_groups = models.ManyToManyField(Group, blank=True)
    position = models.PositiveIntegerField(default=100)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.name


class RouteStep(models.Model):
    """One step of a route."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="steps")
    backend = models.ForeignKey(Backend, on_delete=models.CASCADE, related_name="steps")
    model = models.CharField(max_length=200)
    position = models.PositiveIntegerField(default=0)
    first_token_timeout = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.1)], help_text=gettext_lazy("In seconds. Leave empty to use the backend's.")
    )
    idle_timeout = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.1)], help_text=gettext_lazy("In seconds. Leave empty to use the backend's.")
    )
    context_window = models.PositiveIntegerField(
        null=True, blank=True, help_text=gettext_lazy("In tokens. Leave empty to use the model's.")
    )
    group = models.PositiveSmallIntegerField(
        default=0, help_text=gettext_lazy("Steps of one group share the load. A higher group is the fallback of the one before.")
    )
    weight = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1)], help_text=gettext_lazy("Its share of the group's requests.")
    )

    class Meta:
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return f"{self.backend.name}/{self.model}"


class Rollout(models.Model):
    """A trial of a candidate for a route, with real requests.

    A mirror sends the candidate a copy of a share of the answered requests, and its answers reach no user. A canary lets the candidate
    answer a share of the requests, and ends by itself when the candidate fails more often or answers more slowly than the route's steps.
    """

    class Kind(models.TextChoices):
        """How the candidate takes part."""

        MIRROR = "mirror", gettext_lazy("Mirror: copies of requests, whose answers are only compared")
        CANARY = "canary", gettext_lazy("Canary: real requests, with a return by itself")

    class State(models.TextChoices):
        """How far a rollout has come."""

        RUNNING = "running", gettext_lazy("Running")
        STOPPED = "stopped", gettext_lazy("Stopped")
        ROLLED_BACK = "rolled-back", gettext_lazy("Rolled back")
        PROMOTED = "promoted", gettext_lazy("Promoted")

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="rollouts")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    backend = models.ForeignKey(Backend, on_delete=models.CASCADE, related_name="rollouts")
    model = models.CharField(max_length=200)
    percent = models.FloatField(
        default=10,
        validators=[MinValueValidator(0.1), MaxValueValidator(100)],
        help_text=gettext_lazy("The share of the route's requests."),
    )
    min_samples = models.PositiveIntegerField(
        "minimum sample",
        default=30,
        validators=[MinValueValidator(1)],
        help_text=gettext_lazy("Requests to the candidate before a canary is judged."),
    )
    max_error_rise = models.FloatField(
        "more errors",
        default=5,
        validators=[MinValueValidator(0)],
        help_text=gettext_lazy("Roll back when the candidate fails this many percentage points more often than the route's own steps."),
    )
    max_latency_ratio = models.FloatField(
        "slower",
        default=2,
        validators=[MinValueValidator(1)],
        help_text=gettext_lazy("Roll back when the candidate's median latency is this many times that of the route's own steps."),
    )
    state = models.CharField(max_length=12, choices=State.choices, default=State.RUNNING)
    note = models.CharField(max_length=500, blank=True)
    dropped = models.PositiveIntegerField(default=0, help_text=gettext_lazy("Copies that were not sent because the candidate was busy."))
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["route", "kind"], condition=Q(state="running"), name="one_running_rollout_of_a_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.route.name} to {self.candidate}"

    @property
    def candidate(self) -> str:
        """Return the candidate as `backend/model`."""
        return f"{self.backend.name}/{self.model}"


class MirrorSample(models.Model):
    """One answer of a route beside the candidate's answer to a copy of the request. Times in ms; the texts are not kept."""

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="samples")
    created_at = models.DateTimeField(default=timezone.now)
    stable = models.CharField(max_length=265, help_text=gettext_lazy("The step that answered, as backend/model."))
    stable_ms = models.FloatField(null=True)
    candidate_ms = models.FloatField(null=True)
    stable_first_ms = models.FloatField(null=True)
    candidate_first_ms = models.FloatField(null=True)
    stable_tokens = models.PositiveIntegerField(default=0)
    candidate_tokens = models.PositiveIntegerField(default=0)
    similarity = models.FloatField(null=True, help_text=gettext_lazy("From 0 (no common words) to 1 (the same words in the same order)."))
    error = models.CharField(max_length=40, blank=True)
    why = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.rollout_id}: {self.similarity}"


class Attempt(models.Model):
    """A stored attempt: one step that was called for one request (`patterns.types.Attempt`)."""

    request_id = models.UUIDField(default=uuid.uuid4, db_index=True)
    created_at = models.DateTimeField(db_index=True)
    source = models.CharField(max_length=16, help_text=gettext_lazy("chat, gateway, batch, search, mirror or test."))
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    token = models.ForeignKey("ApiToken", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    route = models.CharField(max_length=300, blank=True, help_text=gettext_lazy("The model name that was asked for."))
    endpoint = models.CharField(max_length=64, default="chat/completions")
    backend = models.CharField(max_length=64)
    model = models.CharField(max_length=200)
    outcome = models.CharField(max_length=12)
    error = models.CharField(max_length=40, blank=True)
    why = models.CharField(max_length=1000, blank=True)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    first_token_ms = models.FloatField(null=True, blank=True)
    duration_ms = models.FloatField(null=True, blank=True)
    prompt_tokens = models.PositiveIntegerField(default=0)
    completion_tokens = models.PositiveIntegerField(default=0)
    estimated = models.BooleanField(
        "tokens estimated", default=False, help_text=gettext_lazy("The server did not say how many, or was cut off before.")
    )
    cost = models.DecimalField(max_digits=14, decimal_places=8, null=True, blank=True)
    summed = models.BooleanField(
        null=True, editable=False, help_text=gettext_lazy("It is part of the usage sums (`reporting.usage_sums`).")
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["user", "created_at"]),
            models.Index(fields=["token", "created_at"]),
            models.Index(fields=["backend", "created_at"], name="attempts_by_backend"),
            models.Index(fields=["created_at"], condition=Q(summed=None), name="attempts_not_summed"),
            models.Index(fields=["user", "created_at"], condition=Q(summed=None), name="attempts_of_user_not_summed"),
        ]

    def __str__(self) -> str:
        return f"{self.backend}/{self.model}: {self.outcome}"


class UsageSums(models.QuerySet["UsageSum"]):
    """Sums of usage."""

    def of(self, grouping: int, *, hourly: bool, since: datetime) -> Self:
        """Return the sums of a grouping, by hour or by day, from a time on."""
        # Django writes `hourly=False` as `NOT hourly`, which SQLite does not look up in an index.
        return self.filter(grouping=grouping, hourly__in=[hourly], start__gte=since)


class UsageSum(models.Model):
    """The sums of the attempts of one hour or one day (UTC) that share some dimensions (`reporting.usage_sums`).

    Each attempt is part of one row for each grouping, so that a page reads few rows. Dimensions that are not part of a row's grouping are
    empty. Rows of hours exist for the last two days, in addition to those of days.
    """

    class Grouping(models.IntegerChoices):
        """The dimensions that a row tells apart."""

        BACKEND = 1
        COMBINATION = 2, gettext_lazy("backend, model, route, source")
        USER = 3
        USER_BACKEND = 4
        USER_MODEL = 5
        USER_ROUTE = 6
        USER_SOURCE = 7
        USER_COMBINATION = 8, gettext_lazy("user, backend, model, route, source")

    key = models.CharField(max_length=32, unique=True, help_text=gettext_lazy("A hash of the grouping and the dimensions."))
    grouping = models.PositiveSmallIntegerField(choices=Grouping.choices)
    hourly = models.BooleanField()
    start = models.DateTimeField(help_text=gettext_lazy("Of the hour or the day."))
    backend = models.CharField(max_length=64, blank=True)
    model = models.CharField(max_length=200, blank=True)
    route = models.CharField(max_length=300, blank=True)
    source = models.CharField(max_length=16, blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    requests = models.PositiveBigIntegerField(default=0, help_text=gettext_lazy("Those whose last attempt is among these."))
    attempts = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    estimated_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(max_digits=18, decimal_places=8, null=True, blank=True)
    first_tokens = models.BinaryField(default=bytes, help_text=gettext_lazy("Times to first token as a histogram (`usage_table.ENTRY`)."))
    errors = models.JSONField(default=dict, help_text=gettext_lazy("Error class to count."))

    objects = UsageSums.as_manager()

    class Meta:
        ordering = ["-start", "id"]
        indexes = [
            # The last four are for filters, and for their choices.
            models.Index(fields=["grouping", "hourly", "start", "backend", "model", "route", "source"], name="usage_by_dimensions"),
            models.Index(fields=["user", "grouping", "hourly", "start"], name="usage_by_user"),
        ]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H}: {self.get_grouping_display()}"


class UsageRound(models.Model):
    """A single row that counts the changes of `UsageSum`.

    Summing up locks it, so that one process does it at a time. A reader of sums and attempts compares it before and after.
    """

    number = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"round {self.number}"


def default_scopes() -> list[str]:
    """Return the scopes of a new token."""
    return ["chat", "embeddings", "models", "files", "batches", "search"]


def token_digest(plaintext: str) -> str:
    """Return the stored hash of a token. Tokens have 256 random bits, so a fast hash is as safe as a slow one."""
    return hashlib.sha256(plaintext.encode(errors="surrogatepass")).hexdigest()


class ApiToken(models.Model):
    """A bearer token for /v1. Only its SHA-256 is stored."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    label = models.CharField(max_length=100, blank=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=12, editable=False, help_text=gettext_lazy("The last four characters."))
    scopes = models.JSONField(default=default_scopes)
    expires_at = models.DateTimeField(null=True, blank=True)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    monthly_budget = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = gettext_lazy("API token")

    def __str__(self) -> str:
        return f"{self.label or 'token'} …{self.hint}"

    def __repr__(self) -> str:
        return f"<ApiToken {self.pk}>"


class Allowance(models.Model):
    """The remaining requests and tokens of a token, a user, or a group. Both buckets refill evenly and hold at most one minute's worth.

    `tokens_left` may be negative: the tokens of a request are known only afterwards, and the excess is subtracted before the next request.
    """

    token = models.OneToOneField(ApiToken, null=True, on_delete=models.CASCADE, related_name="allowance")
    user = models.OneToOneField(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="allowance")
    group = models.OneToOneField("auth.Group", null=True, on_delete=models.CASCADE, related_name="allowance")
    requests_left = models.FloatField()
    tokens_left = models.FloatField()
    refilled_at = models.FloatField(help_text=gettext_lazy("Seconds since the epoch."))
    month = models.CharField(max_length=7, help_text=gettext_lazy("That of `spent`, e.g. 2026-11."))
    spent = models.DecimalField(max_digits=16, decimal_places=8, default=0)

    def __str__(self) -> str:
        return f"{self.token or self.user or self.group}: {self.requests_left:.0f} requests, {self.tokens_left:.0f} tokens"


class Offer(models.Model):
    """A server found on this machine or named by the environment. An administrator accepts or dismisses it with one click."""

    class State(models.TextChoices):
        OPEN = "open", gettext_lazy("Offered")
        ACCEPTED = "accepted", gettext_lazy("Accepted")
        DISMISSED = "dismissed", gettext_lazy("Dismissed")

    name = models.CharField(max_length=64)
    preset = models.CharField(max_length=32)
    base_url = models.CharField(max_length=500, unique=True)
    api_key_env = models.CharField(max_length=100, blank=True)
    model_ids = models.JSONField(default=list, help_text=gettext_lazy("Ids of the models it listed when it was found."))
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return f"{self.name} at {self.base_url}"


class ProbeRun(models.Model):
    """A run of the conformance probe. `results` is a list of `conformance.Finding` as JSON, including the evidence."""

    backend = models.ForeignKey(Backend, on_delete=models.CASCADE, related_name="probes")
    model = models.CharField(max_length=200, blank=True)
    results = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.backend.name}, {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def stale(self) -> bool:
        """Return whether its process must have died: it writes after each probe, and none takes this long."""
        return self.finished_at is None and timezone.now() - self.created_at > timedelta(minutes=15)


class BenchmarkRun(models.Model):
    """A benchmark of a backend or a route, stored for comparison. `results` holds the measurements of `patterns.benchmark` as JSON."""

    class Status(models.TextChoices):
        RUNNING = "running", gettext_lazy("Running")
        DONE = "done", gettext_lazy("Done")
        FAILED = "failed", gettext_lazy("Failed")
        CANCELLED = "cancelled", gettext_lazy("Cancelled")

    target = models.CharField(max_length=300, help_text=gettext_lazy("A model name as /v1 takes it: a route, or backend/model."))
    concurrency = models.PositiveIntegerField(default=4)
    max_tokens = models.PositiveIntegerField(default=64)
    rounds = models.PositiveIntegerField(default=3, help_text=gettext_lazy("Requests that each worker sends, one after the other."))
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.RUNNING)
    done = models.PositiveIntegerField(default=0, help_text=gettext_lazy("Requests finished so far."))
    error = models.CharField(max_length=500, blank=True)
    results = models.JSONField(default=dict)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    touched_at = models.DateTimeField(auto_now=True, help_text=gettext_lazy("Its runner's sign of life."))

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.target}, {self.concurrency} at once"

    @property
    def total(self) -> int:
        """Return the number of requests."""
        return self.concurrency * self.rounds

    @property
    def stale(self) -> bool:
        """Return whether its process must have died: it writes a heartbeat every second."""
        return self.status == self.Status.RUNNING and timezone.now() - self.touched_at > timedelta(seconds=30)
