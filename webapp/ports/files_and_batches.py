"""Let the gateway serve `/v1/files` and `/v1/batches` without importing the batches app.

The batches app registers its handlers in `AppConfig.ready()`. Before it calls a handler, the gateway authenticates the caller, checks the
token's scope, the query, and the size of the body, and stores an upload on disk. The handler returns the JSON object of OpenAI's schema.
For any other outcome it raises `ApiError`, or `InputError`, which becomes a 400. Without a registered handler the gateway answers 501.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from webapp.accounts.models import User
from webapp.patterns.types import Json

Order = Literal["asc", "desc"]


class ApiError(Exception):
    """An error response in OpenAI's shape, `{"error": {"message", "type", "param", "code"}}`, with an HTTP status."""

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
        """Return the body, always with all four keys."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def not_found(kind: str, name: str) -> ApiError:
    """Return the error for a missing `kind` ("file", "batch"). Objects of other users get the same answer, which reveals nothing."""
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
    """A complete uploaded file at `path`. Move the file to keep it: it is deleted when the handler returns.

    `filename` comes from the caller: escape it, and never build a path from it. `size` is in bytes.
    """

    path: Path
    filename: str
    size: int
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a stored file, sent as an attachment. `chunks` is closed if the caller disconnects. `size` is None if unknown."""

    chunks: AsyncIterator[bytes]
    filename: str
    size: int | None = None
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: at most `limit` entries after the one with id `after`, newest first if `order` is "desc".

    Vector stores also have `before`: the entries before the one with this id.
    """

    limit: int
    after: str | None = None
    order: Order = "desc"
    filters: Mapping[str, str] = field(default_factory=dict)
    """Further filters: `purpose` for files, `filter` (a status) for files of vector stores."""
    before: str | None = None


def listing(data: list[Json], *, has_more: bool) -> Json:
    """Return OpenAI's list object around one page of objects with an `id`."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


class FilesApi(Protocol):
    """Handlers of `/v1/files`."""

    async def create(self, caller: Caller, upload: Upload, *, purpose: str, fields: Mapping[str, str]) -> Json:
        """Store an upload and return its file object. `fields` holds the form's other fields, such as `expires_after[seconds]`."""

    async def list(self, caller: Caller, page: Page) -> Json:
        """Return one page of the caller's files (see `listing`)."""

    async def retrieve(self, caller: Caller, file_id: str) -> Json:
        """Return the file object."""

    async def content(self, caller: Caller, file_id: str) -> Content:
        """Return the bytes of the file."""

    async def delete(self, caller: Caller, file_id: str) -> Json:
        """Delete the file and return `{"id", "object": "file", "deleted": true}`."""


class BatchesApi(Protocol):
    """Handlers of `/v1/batches`."""

    async def create(self, caller: Caller, body: Json) -> Json:
        """Start a batch and return it. `body` is a JSON object with checked types and required fields."""

    async def list(self, caller: Caller, page: Page) -> Json:
        """Return one page of the caller's batches (see `listing`)."""

    async def retrieve(self, caller: Caller, batch_id: str) -> Json:
        """Return the batch object."""

    async def cancel(self, caller: Caller, batch_id: str) -> Json:
        """Start canceling and return the batch object, with status `cancelling` or a final one."""


class _Registered:
    files: FilesApi | None = None
    batches: BatchesApi | None = None
    deletion_listeners: ClassVar[list[Callable[[str], None]]] = []


def register(*, files: FilesApi | None = None, batches: BatchesApi | None = None) -> None:
    """Register the handlers of `/v1/files` and `/v1/batches`. An omitted one stays as it was."""
    _Registered.files = files or _Registered.files
    _Registered.batches = batches or _Registered.batches


def on_file_deletion(listener: Callable[[str], None]) -> None:
    """Have `listener` called with the id of each file that is deleted or expires. It is synchronous and uses the ORM."""
    _Registered.deletion_listeners.append(listener)


def announce_deletion(file_id: str) -> None:
    """Tell the listeners that a file was deleted."""
    for listener in _Registered.deletion_listeners:
        listener(file_id)


def files() -> FilesApi:
    """Return the handlers of `/v1/files`.

    Raises:
        ApiError: 501, no app serves them.
    """
    if _Registered.files is None:
        raise _unserved("Files")
    return _Registered.files


def batches() -> BatchesApi:
    """Return the handlers of `/v1/batches`.

    Raises:
        ApiError: 501, no app serves them.
    """
    if _Registered.batches is None:
        raise _unserved("Batches")
    return _Registered.batches


def _unserved(what: str) -> ApiError:
    return ApiError(501, f"{what} are not available on this server.", type="server_error", code="not_implemented")
