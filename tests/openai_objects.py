"""Whether an object is one of OpenAI's API: every required field there, every type and every enumerated value as published.

The official package's models are made from the published OpenAPI document, so they are what everyday tests hold an object against.
`PATCHBAY_TEST_OPENAPI` may name that document (openapi.json of github.com/openai/openai-openapi): then each object must validate against
it as well.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Final

import jsonschema
import yaml
from openai.types import Batch, Completion, CreateEmbeddingResponse, FileDeleted, FileObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject
from pydantic import BaseModel, ConfigDict

Json = dict[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Error(_Strict):
    """The package has a model of what is inside only; all four keys are there, always."""

    class Told(_Strict, ErrorObject):
        code: str | None
        param: str | None

    error: Told


class Models(_Strict):
    object: str
    data: list[Model]


class Files(_Strict):
    object: str
    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Batches(Files):
    data: list[Batch]  # type: ignore[assignment]  # the same list of other things


KINDS: Final[dict[str, type[BaseModel]]] = {
    "CreateChatCompletionResponse": ChatCompletion,
    "CreateChatCompletionStreamResponse": ChatCompletionChunk,
    "CreateCompletionResponse": Completion,
    "CreateEmbeddingResponse": CreateEmbeddingResponse,
    "ListModelsResponse": Models,
    "Model": Model,
    "OpenAIFile": FileObject,
    "ListFilesResponse": Files,
    "DeleteFileResponse": FileDeleted,
    "Batch": Batch,
    "ListBatchesResponse": Batches,
    "ErrorResponse": Error,
}
"""The published schema's names, and the package's models."""


def fits(kind: str, body: Any) -> None:
    """Fail unless `body` is a `kind` (a name of `KINDS`)."""
    KINDS[kind].model_validate(body, strict=True)
    if path := os.environ.get("PATCHBAY_TEST_OPENAPI"):
        schema = {"components": _published(path), "$ref": f"#/components/schemas/{kind}"}
        jsonschema.Draft202012Validator(schema).validate(_told(body))


@functools.cache
def _published(path: str) -> Json:
    read = yaml.safe_load(Path(path).read_text())
    components: Json = _nullable({"schemas": read["components"]["schemas"]})
    return components


def _nullable(schema: Any) -> Any:
    """The document says `nullable: true` as OpenAPI 3.0 did, though it is one of 3.1, where that means nothing."""
    if isinstance(schema, list):
        return [_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: _nullable(value) for name, value in schema.items() if name != "nullable"}
    return {"anyOf": [changed, {"type": "null"}]} if schema.get("nullable") is True else changed


NULL_MEANS_ABSENT: Final = frozenset({"usage", "system_fingerprint", "service_tier"})
"""OpenAI itself sends these as null where the document knows only "absent"; and all of a batch's and a list's that is not known yet."""
OPEN_ENDED: Final = frozenset({"batch", "list"})


def _told(body: Any) -> Any:
    """The object without nulls that stand for absent fields."""
    if isinstance(body, list):
        return [_told(item) for item in body]
    if not isinstance(body, dict):
        return body
    loose = body.get("object") in OPEN_ENDED
    return {name: _told(value) for name, value in body.items() if value is not None or not (loose or name in NULL_MEANS_ABSENT)}
