"""Marks of other products inside of their texts: citations, and reasoning and tool calls as HTML or fences."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import unescape
from typing import Any

from chat.transfer.conversations import Json, Part, json_text, object_of, objects_of, reasoning_part, text_of, text_part, tool_part

# ChatGPT writes U+E200, a kind, U+E202, a target, U+E201; LibreChat passes the same on, also as escaped text.
_MARK = re.compile("[ \t]?\ue200([^\ue201\ue202\n]*)((?:\ue202[^\ue201]*)?)\ue201")
_LONE_MARK = re.compile("[ \t]?\ue202turn\\d+[a-z]+\\d+|[\ue200-\ue20f]")
_SOURCE = re.compile(r"[ \t]?【\d+(?::\d+)?†[^】\n]*】")
_WRITING = re.compile(r"^:::(?:writing|contextList)?(?:\{[^\n]*\})?[ \t]*$\n?", re.MULTILINE)
_DETAILS = re.compile(
    r"<details\s([^>]*\btype=\"(?:reasoning|tool_calls|code_interpreter|code_execution)\"[^>]*)>(.*?)(?:</details>|\Z)", re.DOTALL
)
_SUMMARY = re.compile(r"\s*<summary>.*?</summary>", re.DOTALL)
_ATTRIBUTE = re.compile(r"([\w-]+)=\"([^\"]*)\"")
_QUOTE = re.compile(r"^> ?", re.MULTILINE)
_FENCED_THINKING = re.compile(r"^:::thinking[ \t]*\n(.*?)\n:::[ \t]*$", re.DOTALL | re.MULTILINE)
_ARTIFACT = re.compile(r"<antArtifact\b([^>]*)>(.*?)</antArtifact>", re.DOTALL)
_LANGUAGES = {"text/html": "html", "image/svg+xml": "svg", "application/vnd.ant.mermaid": "mermaid", "application/vnd.ant.react": "jsx"}
_ANT_THINKING = re.compile(r"<antThinking>.*?</antThinking>\s*", re.DOTALL)


def without_citations(text: str, metadata: Json | None = None) -> str:
    """Return a text with its citation marks as links where the export says where they lead, and without the others."""
    for mark, link in _links(text, metadata or {}).items():
        text = text.replace(mark, link)
    text = _MARK.sub(_shown, text)
    text = _SOURCE.sub("", _LONE_MARK.sub("", text))
    return _WRITING.sub("", text) if ":::writing" in text else text


def _links(text: str, metadata: Json) -> dict[str, str]:
    """Return Markdown links for the marks that the metadata of ChatGPT's message explains."""
    links: dict[str, str] = {}
    for reference in objects_of(metadata.get("content_references")):
        mark = reference.get("matched_text")
        link = _reference_link(reference)
        if isinstance(mark, str) and mark.strip() and link:
            links[mark] = link
    for citation in objects_of(metadata.get("citations")):
        start, end = citation.get("start_ix"), citation.get("end_ix")
        if isinstance(start, int) and isinstance(end, int) and 0 <= start < end and _SOURCE.fullmatch(text[start:end]):
            link = _link(object_of(citation.get("metadata")))
            if link:
                links[text[start:end]] = link
    return links


def _reference_link(reference: Json) -> str:
    items = [link for item in objects_of(reference.get("items")) if (link := _link(item))]
    return " ".join(items) or _link(reference) or text_of(reference.get("alt"))


def _link(source: Json) -> str:
    url = text_of(source.get("url"))
    title = re.sub(r"[\[\]\n]", " ", text_of(source.get("title"))).strip()
    return f" ([{title or 'source'}]({url}))" if re.fullmatch(r"https?://[^\s()<>]+", url) else ""


def _shown(found: re.Match[str]) -> str:
    """Return the name that a mark of an entity stands for; nothing for other marks."""
    if found[1] != "entity":
        return ""
    try:
        value = json.loads(found[2].removeprefix("\ue202"))
    except ValueError:
        return ""
    name = value[1] if isinstance(value, list) and len(value) > 1 and isinstance(value[1], str) else ""
    return f" {name}" if found[0][0] in " \t" else name


def split_details(text: str) -> list[Part]:
    """Return Open WebUI's text as parts: reasoning and tool calls stand in it as `<details>`."""
    parts: list[Part] = []
    at = 0
    for found in _DETAILS.finditer(text):
        parts.append(text_part(text[at : found.start()].strip()))
        attributes = {name: unescape(value) for name, value in _ATTRIBUTE.findall(found[1])}
        parts.append(_details_part(attributes, _SUMMARY.sub("", found[2], count=1).strip()))
        at = found.end()
    parts.append(text_part(text[at:].strip()))
    return [part for part in parts if part["kind"] == "tool" or part["text"]]


def _details_part(attributes: dict[str, str], body: str) -> Part:
    if attributes["type"] == "reasoning":
        seconds = attributes.get("duration", "")
        return reasoning_part(unescape(_QUOTE.sub("", body)), float(seconds) if re.fullmatch(r"\d{1,6}(\.\d+)?", seconds) else None)
    name = attributes.get("name") or attributes["type"]
    arguments = _inner(attributes.get("arguments", body))
    result = _inner(attributes.get("result", attributes.get("output", "")))
    return tool_part(attributes.get("id", ""), name, arguments, result)


def _inner(value: str) -> str:
    """Return the text inside of a JSON string; other text as it is."""
    try:
        found: Any = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, str) else value


def split_thinking_fences(text: str) -> list[Part]:
    """Return LibreChat's text as parts: reasoning stands in it between `:::thinking` and `:::`."""
    parts: list[Part] = []
    at = 0
    for found in _FENCED_THINKING.finditer(text):
        parts += [text_part(text[at : found.start()].strip()), reasoning_part(found[1].strip())]
        at = found.end()
    parts.append(text_part(text[at:].strip()))
    return [part for part in parts if part["text"]]


def with_artifacts_as_code(text: str) -> str:
    """Return Claude's text with its artifacts as code blocks, and without its notes about them."""
    return _ARTIFACT.sub(_artifact, _ANT_THINKING.sub("", text))


def _artifact(found: re.Match[str]) -> str:
    attributes = {name: unescape(value) for name, value in _ATTRIBUTE.findall(found[1])}
    kind = attributes.get("type", "")
    language = attributes.get("language") or _LANGUAGES.get(kind, "")
    body = found[2].strip()
    title = f"**{attributes['title']}**\n\n" if attributes.get("title") else ""
    if kind == "text/markdown":
        return f"\n\n{title}{body}\n\n"
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", body)), default=0))
    return f"\n\n{title}{fence}{language}\n{body}\n{fence}\n\n"


def tool_parts(calls: Sequence[Json], results: dict[str, tuple[str, bool]]) -> list[Part]:
    """Return tool calls with the results that belong to them; each result says whether it is an error."""
    parts = []
    for number, call in enumerate(calls):
        id_ = text_of(call.get("id")) or f"call_{number}"
        result, failed = results.get(id_, ("", False))
        name, arguments = text_of(call.get("name")), json_text(call.get("input"))
        parts.append(tool_part(id_, name, arguments, "" if failed else result, error=result if failed else ""))
    return parts
