"""What `/mcp` offers besides tools: the caller's documents as resources, and the prompt library as prompts."""

from __future__ import annotations

from mcp import MCPError
from mcp_types import (
    INVALID_PARAMS,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
)

from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.ports import documents, prompt_library

SCHEME = "patchbay://documents/"
PAGE = 100
MAX_TEXT_CHARS = 1_000_000
RESOURCE_NOT_FOUND = -32002


async def list_documents(user: User, cursor: str | None) -> ListResourcesResult:
    """Return a page of the documents that the user may read. The cursor is the number of documents before the page.

    Raises:
        MCPError: the cursor is not one of ours.
    """
    reader = documents.documents()
    offset = _offset(cursor)
    found = await in_database(reader.page, user, offset=offset, limit=PAGE + 1) if reader else []
    resources = [
        Resource(
            uri=f"{SCHEME}{each.id}",
            name=each.name,
            description=f"In the collection {each.collection}",
            mime_type="text/plain",
            size=each.size,
        )
        for each in found[:PAGE]
    ]
    return ListResourcesResult(resources=resources, next_cursor=str(offset + PAGE) if len(found) > PAGE else None)


def document_templates() -> ListResourceTemplatesResult:
    """Return the form of a document's address."""
    template = ResourceTemplate(
        uri_template=f"{SCHEME}{{id}}", name="document", description="The text of a document", mime_type="text/plain"
    )
    return ListResourceTemplatesResult(resource_templates=[template])


async def read_document(user: User, uri: str) -> ReadResourceResult:
    """Return a document's text, at most `MAX_TEXT_CHARS` of it.

    Raises:
        MCPError: there is no such document, or the user may not read it.
    """
    reader = documents.documents()
    known = uri.startswith(SCHEME) and reader is not None
    text = await in_database(reader.text, user, uri.removeprefix(SCHEME)) if known and reader else None
    if text is None:
        raise MCPError(RESOURCE_NOT_FOUND, f"Resource not found: {uri[:200]}", {"uri": uri[:200]})
    if len(text) > MAX_TEXT_CHARS:
        text = f"{text[:MAX_TEXT_CHARS]}… [cut here: {len(text) - MAX_TEXT_CHARS:,} more characters]"
    return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type="text/plain", text=text)])


async def list_prompts(user: User) -> ListPromptsResult:
    """Return the prompts that the user may use."""
    library = prompt_library.library()
    found = await in_database(library.prompts, user) if library else []
    return ListPromptsResult(
        prompts=[
            Prompt(
                name=each.name,
                description=" ".join(each.text.split())[:200],
                arguments=[PromptArgument(name=name, required=True) for name in each.variables],
            )
            for each in found
        ]
    )


async def get_prompt(user: User, name: str, arguments: dict[str, str]) -> GetPromptResult:
    """Return a prompt with its variables filled in.

    Raises:
        MCPError: there is no such prompt, or a variable has no value.
    """
    library = prompt_library.library()
    found = await in_database(library.prompts, user) if library else []
    prompt = next((each for each in found if each.name == name), None)
    if prompt is None or library is None:
        raise MCPError(INVALID_PARAMS, f"There is no prompt named {name[:100]!r}.")
    missing = [each for each in prompt.variables if each not in arguments]
    if missing:
        raise MCPError(INVALID_PARAMS, f"The prompt needs values for {', '.join(missing)}.")
    message = PromptMessage(role="user", content=TextContent(text=library.fill(prompt, arguments)))
    return GetPromptResult(description=f"/{prompt.name}", messages=[message])


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 9:
        raise MCPError(INVALID_PARAMS, "The cursor is not one that this server gave.")
    return int(cursor)
