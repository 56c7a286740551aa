"""Administer backends: form, presets, curl import, discovery, conformance probe, and status."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from webapp.accounts.models import User
from webapp.backends import selectors, services
from webapp.backends.admin.forms import BackendForm
from webapp.backends.config import curl_import
from webapp.backends.config.presets import PRESETS
from webapp.backends.models import Backend, ProbeRun
from webapp.backends.reporting import status
from webapp.backends.runtime import cooldowns, learned, registry
from webapp.backends.runtime.polling import look_at
from webapp.patterns.errors import InputError


class BackendList(ChangeList):
    """The list, where each backend has its cool-downs as `coolings`."""

    def get_results(self, request: HttpRequest) -> None:
        """Give each backend its active cooldowns."""
        super().get_results(request)
        coolings = status.coolings()
        for backend in self.result_list:
            backend.coolings = coolings.get(backend.name, ())


@admin.register(Backend)
class BackendAdmin(admin.ModelAdmin):
    """Configure backends: address, key, limits, models and their state."""

    form = BackendForm
    list_display = ["name", "address", "state", "models", "key", "position", "enabled"]
    list_filter = ["enabled", "preset"]
    search_fields = ["name", "base_url"]
    actions = ["discover", "enable", "disable"]

    def get_fieldsets(self, request: HttpRequest, obj: Backend | None = None) -> Any:  # noqa: ARG002 - Django's signature
        """Group the fields, and offer to delete the key only where there is one."""
        key = ["api_key", *(["forget_key"] if obj and obj.api_key else []), "api_key_env"]
        return [
            (None, {"fields": [("name", "preset"), "base_url", *key, *([] if obj else ["first_in_default"]), ("enabled", "position")]}),
            ("Timeouts and limits", {"fields": [("connect_timeout", "first_token_timeout", "idle_timeout"), "max_concurrency"]}),
            ("Prices per million tokens", {"fields": [("input_price", "output_price")]}),
            ("Headers", {"fields": ["headers"], "classes": ["collapse"]}),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backend]:
        """Load the health and the number of models with each backend."""
        rows: QuerySet[Backend] = super().get_queryset(request)
        return rows.select_related("health").annotate(model_count=Count("offered"))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Fill the form from the chosen preset."""
        preset = PRESETS.get(request.GET.get("preset", ""), PRESETS["custom"])
        return {
            "preset": preset.name,
            "name": preset.name if preset.name != "custom" else "",
            "base_url": preset.base_url,
            "max_concurrency": preset.max_concurrency,
            "first_in_default": True,
        }

    # --- the list

    @admin.display(description="address")
    def address(self, backend: Backend) -> SafeString:
        """Return the base URL."""
        return format_html('<span class="mono">{}</span>', backend.base_url)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BackendList]:  # noqa: ARG002 - Django's signature
        """Use the list that knows the cooldowns."""
        return BackendList

    @admin.display(description="state")
    def state(self, backend: Backend) -> SafeString:
        """Return the state as a badge with its reason."""
        state, why = status.state_of(backend, getattr(backend, "coolings", ()))
        return format_html('<span class="badge" data-state="{}" title="{}">{}</span>', status.BADGES[state], why, status.WORDS[state])

    @admin.display(ordering="model_count")
    def models(self, backend: Backend) -> int:
        """Return the number of models."""
        return int(getattr(backend, "model_count", 0))

    @admin.display(description="key")
    def key(self, backend: Backend) -> str:
        """Return the variable that holds the key, or the key's last characters."""
        return f"${backend.api_key_env}" if backend.api_key_env else backend.api_key.hint() or "–"

    @admin.action(description=gettext_lazy("Refresh models"), permissions=["change"])
    def discover(self, request: HttpRequest, backends: QuerySet[Backend]) -> None:
        """Ask the selected backends for their models."""
        for backend in backends:
            self._discover(request, backend)

    @admin.action(description=gettext_lazy("Enable"), permissions=["change"])
    def enable(self, request: HttpRequest, backends: QuerySet[Backend]) -> None:
        """Enable the selected backends."""
        self._set_enabled(request, backends, enabled=True)

    @admin.action(description=gettext_lazy("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, backends: QuerySet[Backend]) -> None:
        """Disable the selected backends."""
        self._set_enabled(request, backends, enabled=False)

    def _set_enabled(self, request: HttpRequest, backends: QuerySet[Backend], *, enabled: bool) -> None:
        for backend in backends:
            backend.enabled = enabled
            backend.save(update_fields=["enabled", "updated_at"])  # one by one, because each save notifies the registry
            self.log_change(request, backend, "Enabled." if enabled else "Disabled.")

    # --- saving

    def save_model(self, request: HttpRequest, obj: Backend, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Ask a new or moved backend for its models after the commit, so that the transaction does not wait for the answer."""
        if not change or {"base_url", "api_key", "api_key_env"} & set(form.changed_data):
            obj.flagged = ""
            if change:
                cooldowns.reset(obj.name)  # its pauses belong to its old address or key
            first = not change and bool(form.cleaned_data.get("first_in_default"))
            transaction.on_commit(lambda: self._asked(request, obj, first=first))
        super().save_model(request, obj, form, change)

    def _asked(self, request: HttpRequest, backend: Backend, *, first: bool) -> None:
        self._discover(request, backend)
        step = services.put_first(backend=backend) if first else None
        if step:
            messages.info(request, _("%(step)s comes first in the route default.") % {"step": step})

    def response_add(self, request: HttpRequest, obj: Backend, post_url_continue: str | None = None) -> HttpResponse:
        """Continue to the order of the default route where the form asks for it."""
        if request.POST.get("first_in_default"):
            return redirect("admin:backends_backend_default", obj.pk)  # its models are known by then, so the order may change
        return super().response_add(request, obj, post_url_continue)

    def _discover(self, request: HttpRequest, backend: Backend) -> None:
        found = async_to_sync(services.discover)(backend)
        if found.problem:
            messages.warning(request, _("%(name)s did not list its models: %(problem)s") % {"name": backend.name, "problem": found.problem})
        else:
            if found.corrected:
                messages.info(
                    request,
                    _("Its address is %(corrected)s: nothing answered at the one that was entered.") % {"corrected": found.corrected},
                )
            changes = f"{len(found.added)} new, {len(found.gone)} gone"
            messages.success(
                request,
                _("%(name)s answers: %(total)s models (%(changes)s).") % {"name": backend.name, "total": found.total, "changes": changes},
            )

    # --- further pages

    def get_urls(self) -> list[URLPattern]:
        """Add the pages for pasting, refreshing, testing and trying again."""
        own = [
            path("paste/", self.admin_site.admin_view(self.paste), name="backends_backend_paste"),
            path("<int:pk>/refresh/", self.admin_site.admin_view(require_POST(self.refresh)), name="backends_backend_refresh"),
            path("<int:pk>/try/", self.admin_site.admin_view(require_POST(self.reset_breaker)), name="backends_backend_try"),
            path("<int:pk>/default/", self.admin_site.admin_view(self.put_first), name="backends_backend_default"),
            path("<int:pk>/forget/", self.admin_site.admin_view(require_POST(self.forget)), name="backends_backend_forget"),
            path("<int:pk>/test/", self.admin_site.admin_view(self.test), name="backends_backend_test"),
            path("<int:pk>/test/<int:run>/", self.admin_site.admin_view(self.test_run), name="backends_backend_test_run"),
        ]
        return own + super().get_urls()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Offer the local servers that were found."""
        offers = selectors.open_offers() if self.has_add_permission(request) else ()
        return super().changelist_view(request, {**(extra_context or {}), "offers": offers})

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Offer the presets on the form for a new backend."""
        context = {**(extra_context or {}), "presets": [preset for preset in PRESETS.values() if preset.name != "builtin"]}
        context["preset"] = PRESETS.get(request.GET.get("preset", ""))
        backend = self.get_object(request, object_id) if object_id else None
        if backend:
            cooling = status.coolings().get(backend.name, ())
            state, why = status.state_of(backend, cooling)
            context |= {"state": state, "word": status.WORDS[state], "badge": status.BADGES[state], "why": why, "cooling": cooling}
            model = next((row.name for row in backend.offered.all() if row.capabilities.get("chat", True)), "")
            context |= {"facts": backend.learned.all()[:200], "model_count": backend.offered.count()}
            context["called"] = f"{backend.name}/{model}" if model else ""
        return super().changeform_view(request, object_id, form_url, context)

    def _page(self, request: HttpRequest, backend: Backend | None, title: str, **context: Any) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts, "original": backend, "title": title, **context}

    def _backend(self, request: HttpRequest, pk: int) -> Backend:
        backend = get_object_or_404(Backend, pk=pk)
        if not self.has_change_permission(request, backend):
            raise PermissionDenied
        return backend

    def paste(self, request: HttpRequest) -> HttpResponse:
        """Create a backend from a curl command."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        problem = ""
        if request.method == "POST":
            try:
                backend = curl_import.backend_from_curl(command=request.POST.get("command", "")[:100_000])
            except (InputError, ValidationError) as error:
                problem = error.message if isinstance(error, InputError) else " ".join(error.messages)
            else:
                self.log_addition(request, backend, "Made from a curl command.")
                self._discover(request, backend)
                return redirect("admin:backends_backend_change", backend.pk)
        # The pasted command may contain a key, so it is not shown again.
        context = self._page(request, None, "Paste a curl command", problem=problem)
        return render(request, "admin/backends/backend/paste.html", context, status=400 if problem else 200)

    def refresh(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask the backend for its models."""
        self._discover(request, self._backend(request, pk))
        return redirect("admin:backends_backend_change", pk)

    def reset_breaker(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End the cool-downs of a backend and check it."""
        backend = self._backend(request, pk)
        async_to_sync(registry.reset_breaker)(backend.name)
        up = async_to_sync(look_at)(pk)
        text = (
            _("%(name)s answers; the next request tries it again.")
            if up
            else _("%(name)s does not answer; the next request tries it again.")
        )
        messages.info(request, text % {"name": backend.name})
        return redirect("admin:backends_backend_change", pk)

    def put_first(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask which of the backend's models is first in the default route, and put it there."""
        backend = self._backend(request, pk)
        models = [row.name for row in backend.offered.order_by("name") if row.capabilities.get("chat", True)]
        chosen = request.POST.get("model", "").strip()
        if request.method == "POST" and chosen in models:
            services.put_first(backend=backend, model=chosen)
            messages.success(request, _("%(name)s/%(chosen)s comes first in the route default.") % {"name": backend.name, "chosen": chosen})
            return redirect("admin:backends_backend_change", pk)
        problem = f"{backend.name} has no chat model {chosen!r}." if request.method == "POST" else ""
        suggested = chosen or getattr(services.model_to_begin_with(backend), "name", "")
        title = f"Put {backend.name} first in the route default"
        context = self._page(request, backend, title, models=models, suggested=suggested, problem=problem)
        return render(request, "admin/backends/backend/default.html", context, status=400 if problem else 200)

    def forget(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Delete one learned fact about the backend's models, or all of them."""
        backend = self._backend(request, pk)
        fact = request.POST.get("fact", "")
        count = learned.forget(backend=backend, fact=int(fact) if fact.isdecimal() else None)
        self.log_change(request, backend, f"Forgot {count} learned fact{'' if count == 1 else 's'}.")
        messages.success(
            request, ngettext("%(count)s learned fact forgotten.", "%(count)s learned facts forgotten.", count) % {"count": count}
        )
        return redirect("admin:backends_backend_change", pk)

    def test(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Start the conformance probe, or show the newest."""
        backend = self._backend(request, pk)
        if request.method == "POST":
            model = request.POST.get("model", "")[:200]
            user = request.user if isinstance(request.user, User) else None
            run, _thread = services.start_probe(backend=backend, model=model, user=user)
            self.log_change(request, backend, f"Tested with {model or 'no model'}.")
            return redirect("admin:backends_backend_test_run", pk, run.pk)
        newest = backend.probes.first()
        return self._test_page(request, backend, newest)

    def test_run(self, request: HttpRequest, pk: int, run: int) -> HttpResponse:
        """Show the result of an earlier test."""
        backend = self._backend(request, pk)
        return self._test_page(request, backend, get_object_or_404(ProbeRun, pk=run, backend=backend))

    def _test_page(self, request: HttpRequest, backend: Backend, run: ProbeRun | None) -> HttpResponse:
        models = [row.name for row in backend.offered.all() if row.capabilities.get("chat", True)]
        context = self._page(request, backend, f"Test {backend.name}", run=run, models=models, past=backend.probes.all()[:10])
        partial = request.headers.get("HX-Request") and run
        return render(request, "admin/backends/backend/_findings.html" if partial else "admin/backends/backend/test.html", context)
