"""Where the gateway meets whoever serves `/v1/files` and `/v1/batches`: neither imports the other.

The app that serves them registers its handlers in `AppConfig.ready()`. The gateway has by then authenticated the caller, checked the
token's scope, the query and the body's size, and stored an upload's bytes on disk; a handler does the rest and returns the JSON object of
OpenAI's schema. It raises `ApiError` (or `InputError`, which becomes a 400) for any other outcome. Until something is registered the
gateway answers 501.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from webapp.accounts.models import User
from webapp.patterns.types import Json

Order = Literal["asc", "desc"]


class ApiError(Exception):
    """An answer in OpenAI's error shape: `{"error": {"message", "type", "param", "code"}}` with HTTP status `status`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002 - the name in OpenAI's schema
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def as_json(self) -> Json:
        """The body: all four keys, always."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def not_found(kind: str, name: str) -> ApiError:
    """No such `kind` ("file", "batch"), or it is somebody else's: the same answer, so that nothing can be probed."""
    return ApiError(404, f"No {kind} found with id '{name}'.", param=f"{kind}_id")


@dataclass(frozen=True, slots=True)
class Caller:
    """The user and the token of a request.

    A handler that creates an object calls `record` with the reply, inside the transaction that creates it (`webapp.gateway.idempotency`).
    """

    user: User
    token_id: int | None = None
    record: Callable[[Json], None] = lambda _reply: None


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file, whole, at `path`; move it to keep it: what is still there after the handler returns is deleted.

    `filename` is the caller's word for it: show it escaped, and never build a path from it. `size` in bytes.
    """

    path: Path
    filename: str
    size: int
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a stored file, sent as an attachment. `chunks` is closed when the caller goes away; `size` None for unknown."""

    chunks: AsyncIterator[bytes]
    filename: str
    size: int | None = None
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: at most `limit` entries after the one with id `after`, newest first where `order` is "desc"."""

    limit: int
    after: str | None = None
    order: Order = "desc"
    filters: Mapping[str, str] = field(default_factory=dict)
    """`purpose` for files."""


def listing(data: list[Json], *, has_more: bool) -> Json:
    """The list object of OpenAI's schema around one page of objects that carry an `id`."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


class FilesApi(Protocol):
    """`/v1/files`."""

    async def create(self, caller: Caller, upload: Upload, *, purpose: str, fields: Mapping[str, str]) -> Json:
        """Keep an upload; `fields` holds the form's other fields, e.g. `expires_after[seconds]`."""

    async def list(self, caller: Caller, page: Page) -> Json:
        """One page of the caller's files (see `listing`)."""

    async def retrieve(self, caller: Caller, file_id: str) -> Json:
        """The file object."""

    async def content(self, caller: Caller, file_id: str) -> Content:
        """The file's bytes."""

    async def delete(self, caller: Caller, file_id: str) -> Json:
        """`{"id", "object": "file", "deleted": true}`."""


class BatchesApi(Protocol):
    """`/v1/batches`."""

    async def create(self, caller: Caller, body: Json) -> Json:
        """Start a batch; `body` is a JSON object, with types and required fields checked."""

    async def list(self, caller: Caller, page: Page) -> Json:
        """One page of the caller's batches (see `listing`)."""

    async def retrieve(self, caller: Caller, batch_id: str) -> Json:
        """The batch object."""

    async def cancel(self, caller: Caller, batch_id: str) -> Json:
        """Begin to cancel; the batch object, with status `cancelling` or a final one."""


class _Registered:
    files: FilesApi | None = None
    batches: BatchesApi | None = None


def register(*, files: FilesApi | None = None, batches: BatchesApi | None = None) -> None:
    """Serve `/v1/files` and `/v1/batches` with these handlers; what is left out stays as it was."""
    _Registered.files = files or _Registered.files
    _Registered.batches = batches or _Registered.batches


def files() -> FilesApi:
    """Who serves `/v1/files`; a 501 until somebody does."""
    if _Registered.files is None:
        raise _unserved("Files")
    return _Registered.files


def batches() -> BatchesApi:
    """Who serves `/v1/batches`; a 501 until somebody does."""
    if _Registered.batches is None:
        raise _unserved("Batches")
    return _Registered.batches


def _unserved(what: str) -> ApiError:
    return ApiError(501, f"{what} are not available on this server.", type="server_error", code="not_implemented")
