"""Serve the actions on a conversation."""

from __future__ import annotations

from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from chat import assistants, selectors, services
from chat.forms import SettingsForm
from chat.generation.context_meter import measure
from chat.generation.context_window import OVERFLOW, SUMMARIZE
from chat.html import fragments
from chat.html.answer_html import finished_html
from chat.models import Conversation, Message
from chat.streaming import hub
from chat.transfer import exports
from chat.views.common import changed, current, done, owned, who


@require_POST
@owned
def send(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Send a question without the websocket, for pages whose scripts have not loaded or are blocked."""
    user, text, model = who(request), request.POST.get("text", ""), request.POST.get("model", "")
    selectors.conversation_or_fresh(conversation_id, user)  # a refusal within the transaction of a question spoils an outer one
    running = hub.hub()
    async_to_sync(running.begin)(
        lambda: services.send_message(owner=running.id, conversation_id=conversation_id, user=user, text=text, model=model)
    )
    return redirect("chat:conversation", conversation_id)


@require_POST
@owned
def rename(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Set the title of a conversation."""
    shown = selectors.conversation(conversation_id, who(request))
    if title := request.POST.get("title", "").strip():
        services.set_title(conversation_id=shown.id, title=title)
    return done(shown)


@require_POST
@owned
def delete(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Delete a conversation. A running answer is stopped first."""
    shown = selectors.conversation(conversation_id, who(request))
    async_to_sync(hub.stop_and_wait)(shown.id, who(request))
    services.delete_conversation(conversation=shown)
    if current(request) in {conversation_id, None}:
        return HttpResponseClientRedirect(reverse("chat:new"))
    return changed(HttpResponse(status=204))


@require_http_methods(["GET", "POST"])
@owned
def settings(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Show and change the settings that each question uses."""
    shown = selectors.conversation_or_fresh(conversation_id, who(request))
    _choose(shown, request)
    form = SettingsForm(request.POST or None, conversation=shown)
    saved = form.is_bound and form.is_valid()
    if saved:
        services.update_settings(conversation=shown, system_prompt=form.cleaned_data["system_prompt"], options=form.options())
    return render(request, "chat/_settings.html", {"form": form, "conversation": shown, "saved": saved})


@require_POST
@owned
def overflow(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Choose how to handle messages that no longer fit."""
    shown = selectors.conversation(conversation_id, who(request))
    how = request.POST.get("how", "")
    if how not in dict(OVERFLOW):
        return HttpResponse(status=400)
    services.change_conversation(conversation=shown, options={**shown.options, "overflow": how})
    summarized = _("From the next question on they are summarized.")
    said = summarized if how == SUMMARIZE else _("From the next question on they are left out.")
    return HttpResponse(format_html('<span role="status">{}</span>', said))


@require_POST
@owned
def meter(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Return the bar of the context window, including the text in the composer."""
    shown = selectors.conversation_or_fresh(conversation_id, who(request))
    _choose(shown, request)
    bar = async_to_sync(measure)(shown, who(request), request.POST.get("text", ""))
    return render(request, "chat/_meter.html", {"meter": bar})


def _choose(shown: Conversation, request: HttpRequest) -> None:
    """Apply the choice of the model picker, which a conversation without questions has not stored yet."""
    choice = request.POST.get("model") or request.GET.get("model")
    if choice:
        assistants.choose(shown, choice)


@require_POST
@owned
def pin(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Pin a conversation, or unpin it."""
    shown = selectors.conversation(conversation_id, who(request))
    services.change_conversation(conversation=shown, pinned=not shown.pinned)
    return done(shown)


@require_POST
@owned
def archive(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Archive a conversation, or unarchive it. Returns a note with a button that undoes it."""
    shown = selectors.conversation(conversation_id, who(request))
    services.change_conversation(conversation=shown, archived=not shown.archived)
    async_to_sync(hub.nudge)(shown.id)
    return changed(render(request, "chat/_archived.html", {"conversation": shown}))


@require_POST
@owned
def share(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Share a conversation as it is now (`how=snapshot`) or as it grows (`live`), or stop (`off`). Without `how`, share or stop."""
    shown = selectors.conversation(conversation_id, who(request))
    how = request.POST.get("how") or ("off" if shown.share_token else "snapshot")
    services.share_conversation(conversation=shown, on=how != "off", live=how == "live")
    return done(shown)


@require_GET
@owned
def export(request: HttpRequest, conversation_id: UUID, form: str) -> HttpResponse:
    """Return the conversation as a file: Markdown of the shown branch, or JSON of everything."""
    shown = selectors.conversation(conversation_id, who(request))
    text, kind = (exports.as_json(shown), "application/json") if form == "json" else (exports.as_markdown(shown), "text/markdown")
    headers = {"Content-Disposition": f'attachment; filename="chat-{shown.id}.{form}"'}
    return HttpResponse(text, content_type=f"{kind}; charset=utf-8", headers=headers)


@require_GET
def shared(request: HttpRequest, token: str) -> HttpResponse:
    """Show a conversation to anyone with its link, read-only, without trail and tools."""
    shown = get_object_or_404(Conversation, share_token=token)
    if not shown.share_live:
        shown.leaf_id = shown.share_leaf_id
    turns = [(message, _drawn(message)) for message in selectors.branch(shown, html=True)]
    return render(request, "chat/shared.html", {"conversation": shown, "turns": turns})


def _drawn(message: Message) -> SafeString:
    """Return a message as HTML; an imported answer is rendered when it is looked at."""
    if message.role == Message.Role.USER:
        return fragments.question_html(message)
    return mark_safe(message.html or finished_html(message.id, message.parts))  # noqa: S308 - from webapp.rendering
