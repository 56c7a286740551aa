"""Serve OpenAI's Conversations API: conversations with their items, for the user of the token."""

from __future__ import annotations

from webapp.core.database import in_database
from webapp.gateway.auth import Principal
from webapp.gateway.bodies import read_object
from webapp.gateway.endpoints.responses import item_page
from webapp.gateway.http import Call
from webapp.gateway.models import ConversationItem, StoredConversation
from webapp.gateway.responses import lookup, records
from webapp.patterns.responses import schema
from webapp.patterns.responses.items import normalize_input
from webapp.patterns.types import Json
from webapp.ports.files_and_batches import ApiError, listing


async def create_conversation(call: Call, principal: Principal) -> None:
    """POST conversations."""
    body = await read_object(call, schema.NEW_CONVERSATION)
    items = records.with_new_ids(normalize_input(body.get("items")))
    row = await in_database(records.create_conversation, user_id=principal.user.pk, metadata=body.get("metadata") or {}, items=items)
    await call.respond_json(_object(row))


async def retrieve_conversation(call: Call, principal: Principal, name: str) -> None:
    """GET conversations/{id}."""
    await call.respond_json(_object(await in_database(lookup.conversation, principal.user.pk, name)))


async def update_conversation(call: Call, principal: Principal, name: str) -> None:
    """POST conversations/{id}."""
    body = await read_object(call, schema.CONVERSATION_UPDATE)
    row = await in_database(lookup.conversation, principal.user.pk, name)
    await in_database(records.update_conversation, row, body.get("metadata") or {})
    await call.respond_json(_object(row))


async def delete_conversation(call: Call, principal: Principal, name: str) -> None:
    """DELETE conversations/{id}; its responses stay."""
    row = await in_database(lookup.conversation, principal.user.pk, name)
    await in_database(row.delete)
    await call.respond_json({"id": name, "object": "conversation.deleted", "deleted": True})


async def create_items(call: Call, principal: Principal, name: str) -> None:
    """POST conversations/{id}/items."""
    body = await read_object(call, schema.NEW_ITEMS)
    items = records.with_new_ids(normalize_input(body["items"]))
    row = await in_database(lookup.conversation, principal.user.pk, name)
    await in_database(records.add_items, row.pk, items)
    await call.respond_json(listing(items, has_more=False))


async def list_items(call: Call, principal: Principal, name: str) -> None:
    """GET conversations/{id}/items."""
    row = await in_database(lookup.conversation, principal.user.pk, name)
    await call.respond_json(item_page(call, await in_database(lookup.conversation_items, row.pk)))


async def retrieve_item(call: Call, principal: Principal, name: str, item: str) -> None:
    """GET conversations/{id}/items/{item}."""
    await call.respond_json((await in_database(_item, principal.user.pk, name, item)).data)


async def delete_item(call: Call, principal: Principal, name: str, item: str) -> None:
    """DELETE conversations/{id}/items/{item}; the conversation."""
    row = await in_database(_item, principal.user.pk, name, item)
    await in_database(row.delete)
    await call.respond_json(_object(row.conversation))


def _item(user_id: int, name: str, key: str) -> ConversationItem:
    found = ConversationItem.objects.filter(conversation=lookup.conversation(user_id, name), key=key).select_related("conversation").first()
    if found is None:
        raise ApiError(404, f"Item with id '{key[:200]}' not found in the conversation.", param="item_id")
    return found


def _object(row: StoredConversation) -> Json:
    return {"id": row.pk, "object": "conversation", "created_at": int(row.created_at.timestamp()), "metadata": row.metadata}
