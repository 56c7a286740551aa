"""Serve the gateway as an ASGI application at /v1: no middleware, no session, and every error in the caller's protocol."""

from __future__ import annotations

import logging

from django.db import Error

from webapp.core.disk import is_disk_full
from webapp.gateway import cors
from webapp.gateway.auth import authenticate
from webapp.gateway.endpoints import (
    completions,
    conversations,
    embeddings,
    files_and_batches,
    messages,
    model_list,
    relays,
    responses,
    vector_stores,
)
from webapp.gateway.errors import api_error, unavailable
from webapp.gateway.http import Call, ClientGone
from webapp.gateway.routing import Endpoint, Routes
from webapp.gateway.usage import used
from webapp.patterns.errors import PatternError
from webapp.ports.files_and_batches import ApiError
from webapp.server.asgi import Receive, Scope, Send

logger = logging.getLogger("patchbay.gateway")

ROUTES = Routes(
    [
        ("POST", "chat/completions", Endpoint("chat", completions.completions)),
        ("POST", "completions", Endpoint("chat", completions.completions)),
        ("POST", "embeddings", Endpoint("embeddings", embeddings.embeddings)),
        ("POST", "messages", Endpoint("chat", messages.create_message)),
        ("POST", "messages/count_tokens", Endpoint("chat", messages.count_tokens)),
        ("POST", "responses", Endpoint("chat", responses.create_response)),
        ("POST", "responses/input_tokens", Endpoint("chat", responses.count_input_tokens)),
        ("POST", "responses/compact", Endpoint("chat", responses.compact_response)),
        ("GET", "responses/{id}", Endpoint("chat", responses.retrieve_response)),
        ("DELETE", "responses/{id}", Endpoint("chat", responses.delete_response)),
        ("POST", "responses/{id}/cancel", Endpoint("chat", responses.cancel_response)),
        ("GET", "responses/{id}/input_items", Endpoint("chat", responses.list_input_items)),
        ("POST", "conversations", Endpoint("chat", conversations.create_conversation)),
        ("GET", "conversations/{id}", Endpoint("chat", conversations.retrieve_conversation)),
        ("POST", "conversations/{id}", Endpoint("chat", conversations.update_conversation)),
        ("DELETE", "conversations/{id}", Endpoint("chat", conversations.delete_conversation)),
        ("POST", "conversations/{id}/items", Endpoint("chat", conversations.create_items)),
        ("GET", "conversations/{id}/items", Endpoint("chat", conversations.list_items)),
        ("GET", "conversations/{id}/items/{item}", Endpoint("chat", conversations.retrieve_item)),
        ("DELETE", "conversations/{id}/items/{item}", Endpoint("chat", conversations.delete_item)),
        ("POST", "moderations", Endpoint("chat", relays.relay_json)),
        ("POST", "rerank", Endpoint("embeddings", relays.relay_json)),
        ("POST", "audio/speech", Endpoint("chat", relays.relay_json)),
        ("POST", "audio/transcriptions", Endpoint("chat", relays.relay_form)),
        ("POST", "audio/translations", Endpoint("chat", relays.relay_form)),
        ("POST", "images/generations", Endpoint("chat", relays.relay_json)),
        ("POST", "images/edits", Endpoint("chat", relays.relay_form)),
        ("POST", "images/variations", Endpoint("chat", relays.relay_form)),
        ("GET", "models", Endpoint("models", model_list.list_models)),
        ("GET", "models/{name}", Endpoint("models", model_list.retrieve_model)),
        ("POST", "files", Endpoint("files", files_and_batches.create_file)),
        ("GET", "files", Endpoint("files", files_and_batches.list_files)),
        ("GET", "files/{id}/content", Endpoint("files", files_and_batches.file_content)),
        ("GET", "files/{id}", Endpoint("files", files_and_batches.retrieve_file)),
        ("DELETE", "files/{id}", Endpoint("files", files_and_batches.delete_file)),
        ("POST", "batches", Endpoint("batches", files_and_batches.create_batch)),
        ("GET", "batches", Endpoint("batches", files_and_batches.list_batches)),
        ("GET", "batches/{id}", Endpoint("batches", files_and_batches.retrieve_batch)),
        ("POST", "batches/{id}/cancel", Endpoint("batches", files_and_batches.cancel_batch)),
        ("POST", "vector_stores", Endpoint("files", vector_stores.create_store)),
        ("GET", "vector_stores", Endpoint("search", vector_stores.list_stores)),
        ("GET", "vector_stores/{id}", Endpoint("search", vector_stores.retrieve_store)),
        ("POST", "vector_stores/{id}", Endpoint("files", vector_stores.update_store)),
        ("DELETE", "vector_stores/{id}", Endpoint("files", vector_stores.delete_store)),
        ("POST", "vector_stores/{id}/search", Endpoint("search", vector_stores.search_store)),
        ("POST", "vector_stores/{id}/files", Endpoint("files", vector_stores.create_file)),
        ("GET", "vector_stores/{id}/files", Endpoint("search", vector_stores.list_files)),
        ("GET", "vector_stores/{id}/files/{item}", Endpoint("search", vector_stores.retrieve_file)),
        ("POST", "vector_stores/{id}/files/{item}", Endpoint("files", vector_stores.update_file)),
        ("DELETE", "vector_stores/{id}/files/{item}", Endpoint("files", vector_stores.delete_file)),
        ("GET", "vector_stores/{id}/files/{item}/content", Endpoint("search", vector_stores.file_content)),
        ("POST", "vector_stores/{id}/file_batches", Endpoint("files", vector_stores.create_batch)),
        ("GET", "vector_stores/{id}/file_batches/{item}", Endpoint("search", vector_stores.retrieve_batch)),
        ("POST", "vector_stores/{id}/file_batches/{item}/cancel", Endpoint("files", vector_stores.cancel_batch)),
        ("GET", "vector_stores/{id}/file_batches/{item}/files", Endpoint("search", vector_stores.list_batch_files)),
    ]
)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request below /v1. Every error has the protocol's shape, and none reveals internals."""
    call = Call(scope, receive, send)
    call.extra_headers.update(cors.headers(call))
    try:
        await _answer(call)
    except ClientGone:
        logger.debug("%s: the client went away", call.id)
    except ApiError as error:
        await call.fail(error)
    except PatternError as error:
        await call.fail(api_error(error))
    except (Error, OSError) as error:
        await call.fail(_storage_failure(call, error))
    except Exception:
        logger.exception("%s: %s /v1/%s failed", call.id, call.method, call.path)
        await call.fail(ApiError(500, f"Something broke on our side: tell an administrator the request id {call.id}.", type="server_error"))


def _storage_failure(call: Call, error: Error | OSError) -> ApiError:
    """Return the answer for a database or disk that rejects a write."""
    if is_disk_full(error):
        logger.error("%s: the disk is full: %s", call.id, error)
        return ApiError(507, "The server's disk is full: an administrator must make room.", type="server_error", code="storage_full")
    if isinstance(error, Error):
        logger.error("%s: the database is down: %s", call.id, error)
        return unavailable("The database does not answer: try again in a moment.")
    logger.error("%s: %s /v1/%s failed", call.id, call.method, call.path, exc_info=error)
    return ApiError(500, f"Something broke on our side: tell an administrator the request id {call.id}.", type="server_error")


async def _answer(call: Call) -> None:
    if call.method == "OPTIONS":
        methods = ROUTES.allowed(call)
        await call.start(204, {"allow": methods, **cors.preflight(call, methods)})
        await call.end()
        return
    endpoint, ids = ROUTES.match(call)
    principal = await authenticate(call)
    principal.demand(endpoint.scope)
    used(principal)
    await endpoint(call, principal, ids)
