"""Render the curl panel, which shows how to call a model from outside."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.text import slugify

from webapp.patterns.curl.commands import to_curl
from webapp.patterns.types import Json

register = template.Library()
TOKEN_VARIABLE = "PATCHBAY_TOKEN"  # noqa: S105 - the name of a shell variable


@register.inclusion_tag("components/_curl.html", takes_context=True)
def curl_panel(context: dict[str, Any], model: str, *, embeddings: bool = False, body: Json | None = None) -> dict[str, Any]:
    """Return commands that call `model` (a route, or `backend/model`) through this server, with a placeholder for the token.

    Args:
        embeddings: whether the model embeds instead of chatting.
        body: a real request to show; by default a greeting.
    """
    base_url = context["request"].build_absolute_uri("/v1")
    if embeddings:
        examples = [("Embeddings", "embeddings", body or {"model": model, "input": ["Hello!"]})]
    else:
        greeting = [{"role": "user", "content": "Hello!"}]
        chat = {name: value for name, value in (body or {"messages": greeting}).items() if name not in {"stream", "stream_options"}}
        chat = {"model": model, **{name: value for name, value in chat.items() if name != "model"}}
        examples = [("Chat", "chat/completions", chat), ("Streaming", "chat/completions", {**chat, "stream": True})]
    commands = [(name, to_curl(example, base_url, path, key_variable=TOKEN_VARIABLE)) for name, path, example in examples]
    commands.append(("List models", to_curl(None, base_url, "models", key_variable=TOKEN_VARIABLE)))
    return {"commands": commands, "variable": TOKEN_VARIABLE, "panel": f"curl-{slugify(model)}"}
