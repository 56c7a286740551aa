"""Anthropic's Messages API, translated to and from chat completions. Plain functions and classes: no Django, no network."""

from webapp.patterns.messages.answers import to_message
from webapp.patterns.messages.errors import error_body
from webapp.patterns.messages.events import EventEncoder
from webapp.patterns.messages.requests import to_chat, wants_thinking
from webapp.patterns.messages.schema import check_count, check_request
from webapp.patterns.messages.whole import complete, to_request

__all__ = [
    "EventEncoder",
    "check_count",
    "check_request",
    "complete",
    "error_body",
    "to_chat",
    "to_message",
    "to_request",
    "wants_thinking",
]
