"""Serve the prompt library, and the composer's menu behind `/`."""

from __future__ import annotations

from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from chat import assistants, prompts, selectors, services
from chat.forms import PromptForm
from chat.views.common import owned, who
from webapp.backends.runtime import registry


@require_http_methods(["GET", "POST"])
@owned
def library(request: HttpRequest, prompt_id: UUID | None = None) -> HttpResponse:
    """Show the user's own prompts and the shared ones, with a form for a new one or for `prompt_id`."""
    user = who(request)
    edited = selectors.own_prompt(prompt_id, user) if prompt_id else None
    form = PromptForm(request.POST or None, user=user, prompt=edited)
    if form.is_bound and form.is_valid():
        services.save_prompt(user=user, prompt=edited, **form.cleaned_data)
        return redirect("chat:prompts")
    return render(request, "chat/prompts.html", {"form": form, "edited": edited, "prompts": selectors.prompts(user)})


@require_POST
@owned
def delete(request: HttpRequest, prompt_id: UUID) -> HttpResponse:
    """Delete a saved prompt."""
    services.delete_prompt(prompt=selectors.own_prompt(prompt_id, who(request)))
    return redirect("chat:prompts")


@require_http_methods(["GET", "POST"])
@owned
def use(request: HttpRequest, prompt_id: UUID) -> HttpResponse:
    """Return the prompt's text for the composer, or first the form that asks for its variables."""
    prompt = selectors.prompt(prompt_id, who(request))
    names = prompts.variables(prompt.text)
    if names and request.method == "GET":
        return render(request, "chat/_fill.html", {"prompt": prompt, "names": names})
    values = {name: request.POST.get(f"v{number}", "") for number, name in enumerate(names)}
    return render(request, "chat/_fill.html", {"text": prompts.filled(prompt.text, values)})


@require_GET
@owned
def slash(request: HttpRequest) -> HttpResponse:
    """List the entries of the composer's `/` menu."""
    offers = [offer for offer in async_to_sync(registry.offered)(who(request)) if offer.chat]
    context = {"models": offers, "prompts": selectors.prompts(who(request)), "assistants": assistants.offered(who(request))}
    return render(request, "chat/_slash.html", context)
