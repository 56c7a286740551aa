"""Serve the websocket of a chat. Frames in: `{"body": {"action": …}}`; frames out: `{"content", "target", "swap"}` (docs/websocket.md)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import HASH_SESSION_KEY
from django.utils.translation import gettext as _

from chat import selectors, services, uploads
from chat.generation.generate import CHANGE_BACKENDS
from chat.html import fragments
from chat.html.elicitation_form import FIELD_PREFIX
from chat.selectors import SocketSession
from chat.services import Refused, Started
from chat.streaming.hub import hub
from chat.streaming.subscription import Attachment
from webapp.accounts import languages
from webapp.accounts.models import User
from webapp.backends.runtime import registry
from webapp.core.database import in_database
from webapp.patterns.errors import InputError

MAX_MESSAGE = 2_000_000
SIGN_IN, NO_SUCH_CHAT, SERVER_ERROR = 4401, 4404, 1011
logger = logging.getLogger("patchbay.chat")


class ChatConsumer(AsyncWebsocketConsumer):
    """One socket. Its handlers only start work. The attachment's own task sends the frames of an answer."""

    channel_layer_alias = "none"  # the hub listens for all sockets of the process

    user: User
    conversation_id: UUID
    pump: asyncio.Task[None] | None = None

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Dispatch as Channels does, but without a thread per socket that closes database connections."""
        await getattr(self, get_handler_name(message))(message)

    async def connect(self) -> None:
        """Accept the socket of a signed-in user who may read the conversation; close it with a reason otherwise."""
        self.user = self.scope["user"]
        self.conversation_id = self.scope["url_route"]["kwargs"]["conversation_id"]
        if not self.user.is_authenticated or not self.user.is_active:
            await self.close(SIGN_IN)
        elif not await in_database(selectors.may_attach, self.conversation_id, self.user.pk):
            await self.close(NO_SUCH_CHAT)
        else:
            languages.activate_language_of(self.user, self.scope["headers"])
            await self.accept()
            seen = parse_qs(self.scope["query_string"].decode("latin-1")).get("seen", [""])[0]
            session = self.scope.get("session")
            self.attachment = Attachment(
                hub(),
                self.conversation_id,
                self.user,
                send=self.send,
                close=self.close,
                seen=seen,
                session=SocketSession(self.user.pk, session.session_key or "", session.get(HASH_SESSION_KEY, "")) if session else None,
            )
            self.pump = asyncio.ensure_future(self._pump())

    async def _pump(self) -> None:
        """Send until the socket ends. After a failure close the socket: the client reconnects and gets the present state."""
        try:
            await self.attachment.pump()
        except OSError:
            logger.debug("A client closed its socket while it was sent to")
        except Exception:
            logger.exception("A chat socket failed")
            await self.close(SERVER_ERROR)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:  # noqa: ARG002 - channels' signature
        """Stop sending. A running generation goes on."""
        if self.pump:
            self.pump.cancel()
        raise StopConsumer

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:  # noqa: ARG002 - channels' signature
        """Run the action that a message names, and answer bad input with a notice."""
        body = _body(text_data)
        action = _ACTIONS.get(str(body.get("action"))) if body else None
        if body is None or action is None:
            self.attachment.post(fragments.notice(_("Patchbay could not read that message. Reload the page and try again.")))
            return
        try:
            await action(self, body)
        except Refused as refusal:
            self.attachment.post(fragments.notice(str(refusal)))
        except selectors.NotFound:
            self.attachment.post(fragments.notice(_("That message no longer exists.")))

    async def start(self, write: Callable[[], Started], text: str = "") -> None:
        """Begin a generation, then empty the composer."""
        await hub().begin(write)
        self.attachment.post(fragments.sent(text))

    async def on_send(self, body: dict[str, Any]) -> None:
        """Send a message, with its attachments, to one or more models."""
        text, model = _text(body, "text"), _text(body, "model")
        attached: list[dict[str, Any]] = []
        if body.get("attachment"):
            attached = await in_database(selectors.attached, self.user, self.conversation_id, body["attachment"])
            await in_database(self._index, text, attached)

        if others := _names(body.get("compare")):
            await self._compare(text, [model, *others], attached)
            return

        def write() -> Started:
            ids = hub().id, self.conversation_id
            return services.send_message(owner=ids[0], conversation_id=ids[1], user=self.user, text=text, model=model, attachments=attached)

        await self.start(write, text)

    async def _compare(self, text: str, models: list[str], attached: list[dict[str, Any]]) -> None:
        owner, id_ = hub().id, self.conversation_id
        await hub().begin_all(
            lambda: services.compare_models(
                owner=owner, conversation_id=id_, user=self.user, text=text, models=models, attachments=attached
            )
        )
        self.attachment.post(fragments.sent(text))

    def _index(self, text: str, attached: list[dict[str, Any]]) -> None:
        shown = selectors.conversation_or_fresh(self.conversation_id, self.user)
        title = str(shown.title) or services.first_words(text) or "files"
        try:
            uploads.index(user=self.user, conversation_id=self.conversation_id, title=title, items=attached)
        except InputError as error:
            raise Refused(error.message) from None

    async def on_edit(self, body: dict[str, Any]) -> None:
        """Edit a message of the user's and ask again."""
        message, text = _message(body), _text(body, "text")
        await self.start(lambda: services.edit_message(owner=hub().id, message_id=message, user=self.user, text=text))

    async def on_regenerate(self, body: dict[str, Any]) -> None:
        """Generate another answer to the same message."""
        message = await self._answer(body)
        if body.get("now"):
            await self._end_pauses(message)
        await self.start(lambda: services.regenerate_answer(owner=hub().id, message_id=message, user=self.user, model=_text(body, "model")))

    async def on_continue(self, body: dict[str, Any]) -> None:
        """Go on with an answer that ended early."""
        message = await self._answer(body)
        await self.start(lambda: services.continue_answer(owner=hub().id, message_id=message, user=self.user))

    async def on_stop(self, _body: dict[str, Any]) -> None:
        """Stop the generations of this conversation."""
        await hub().request_stop(self.conversation_id, self.user)

    async def on_approve(self, body: dict[str, Any]) -> None:
        """Approve or decline a tool call that waits."""
        await hub().approve(self.conversation_id, self.user, call_id=_text(body, "call"), yes=bool(body.get("yes")))

    async def on_answer(self, body: dict[str, Any]) -> None:
        """Answer the questions that a tool asked."""
        fields = {name: value for name, value in body.items() if name.startswith(FIELD_PREFIX)}
        await hub().answer(self.conversation_id, self.user, call_id=_text(body, "call"), action=_text(body, "answer"), fields=fields)

    async def _end_pauses(self, message_id: UUID) -> None:
        """Have the backends that were paused for an answer called again at once, where the user may change backends."""
        message = await in_database(selectors.message, message_id, self.user)
        if await in_database(self.user.has_perm, CHANGE_BACKENDS):
            for name in message.report.get("paused", ()):
                await registry.reset_breaker(name)

    async def _answer(self, body: dict[str, Any]) -> UUID:
        """Return the id of the named answer, or of the last one of the shown branch."""
        if body.get("message"):
            return _message(body)
        conversation = await in_database(selectors.conversation, self.conversation_id, self.user)
        if conversation.leaf_id is None:
            raise Refused(_("There is no answer yet."))
        return conversation.leaf_id


Action = Callable[[ChatConsumer, dict[str, Any]], Awaitable[None]]
_ACTIONS: dict[str, Action] = {
    "send": ChatConsumer.on_send,
    "stop": ChatConsumer.on_stop,
    "edit": ChatConsumer.on_edit,
    "regenerate": ChatConsumer.on_regenerate,
    "continue": ChatConsumer.on_continue,
    "approve": ChatConsumer.on_approve,
    "answer": ChatConsumer.on_answer,
}


def _body(text: str | None) -> dict[str, Any] | None:
    """Return the body of a frame; None if the frame is not valid."""
    if not text or len(text) > MAX_MESSAGE:
        return None
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return None
    body = frame.get("body") if isinstance(frame, dict) else None
    return body if isinstance(body, dict) else None


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise Refused(_("%(name)s must be text.") % {"name": name})
    # A lone surrogate is valid JSON but not valid text, so it can be neither stored nor sent.
    return value.encode("utf-8", "replace").decode()


def _names(value: object) -> list[str]:
    """Return one, several, or no names, as a form sends them."""
    names = value if isinstance(value, list) else [value]
    return [name for name in names if isinstance(name, str) and name]


def _message(body: dict[str, Any]) -> UUID:
    try:
        return UUID(_text(body, "message"))
    except ValueError:
        raise Refused(_("message must be the id of a message.")) from None
