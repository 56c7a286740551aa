"""Conversations from the export files of ChatGPT, Open WebUI and Patchbay, with all their branches and the files that the export holds.

A file is read whole and checked before anything is written; whatever is wrong with it is an `Unreadable` that says so.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from chat.transfer import exports
from chat.transfer.export_attachments import Archive, Enclosed, from_data_url, from_text, id_of

MAX_BYTES = 50 * 1024 * 1024
"""Of JSON. An archive may have more: it is read where it lies."""
MAX_CONVERSATIONS = 20_000
MAX_NODES = 200_000
MAX_TEXT = 1_000_000
NOT_TEXT = "*(a picture or file: not imported)*"
_SILENT = {"thoughts", "reasoning_recap", "user_editable_context", "model_editable_context"}

Json = dict[str, Any]


class Unreadable(Exception):
    """The file cannot be imported; the text says why."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question or an answer. `parent` is the key of the one before it, None for a first question."""

    key: str
    parent: str | None
    role: str
    text: str
    model: str
    at: datetime | None
    files: tuple[Enclosed, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """A conversation: its turns, parents first, and the key of the end of the branch on show."""

    source: str
    title: str
    turns: list[Turn]
    leaf: str | None
    at: datetime | None
    pinned: bool = False
    archived: bool = False
    system_prompt: str = ""


def read(file: IO[bytes]) -> list[Imported]:
    """All conversations of a file: JSON, or the ZIP archive that ChatGPT sends, which must stay open while its files are read."""
    text, archive = _unpacked(file)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("This is not a JSON file.") from None
    entries = found if isinstance(found, list) else [found]
    if len(entries) > MAX_CONVERSATIONS:
        raise Unreadable(f"It has more than {MAX_CONVERSATIONS:,} conversations.")
    budget = _Budget()
    return [_conversation(entry, number, budget, archive) for number, entry in enumerate(entries, 1)]


def _unpacked(file: IO[bytes]) -> tuple[bytes, Archive]:
    data = file.read(MAX_BYTES + 1)
    if not data.startswith(b"PK\x03\x04"):
        if len(data) > MAX_BYTES:
            raise Unreadable(f"A JSON file may have {MAX_BYTES // 1024 // 1024} MB at most.")
        return data, Archive()
    try:
        archive = zipfile.ZipFile(file)
        with archive.open("conversations.json") as member:
            unpacked = member.read(MAX_BYTES + 1)
    except KeyError:
        raise Unreadable("The archive has no conversations.json.") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise Unreadable(f"The archive cannot be read: {error}") from None
    if len(unpacked) > MAX_BYTES:
        raise Unreadable(f"conversations.json may have {MAX_BYTES // 1024 // 1024} MB at most.")
    return unpacked, Archive(archive)


class _Budget:
    """Counts messages over the whole file."""

    left = MAX_NODES

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Unreadable(f"It has more than {MAX_NODES:,} messages.")


def _conversation(entry: object, number: int, budget: _Budget, archive: Archive) -> Imported:
    try:
        if isinstance(entry, dict) and isinstance(entry.get("mapping"), dict):
            return _chatgpt(entry, budget, archive)
        if isinstance(entry, dict) and isinstance(entry.get("chat"), dict):
            return _open_webui(entry, budget)
        if isinstance(entry, dict) and entry.get("format") == exports.FORMAT:
            return _patchbay(entry, budget)
    except Unreadable as error:
        raise Unreadable(f"Conversation {number}: {error}") from None
    raise Unreadable(f"Conversation {number} is neither ChatGPT's (mapping), Open WebUI's (chat) nor Patchbay's (format).")


def _chatgpt(entry: Json, budget: _Budget, archive: Archive) -> Imported:
    nodes = {key: (_key(node.get("parent")), _chatgpt_turn(node.get("message"), archive)) for key, node in _objects(entry["mapping"])}
    budget.take(len(nodes))
    turns, nearest = _tree(nodes)
    at = _time(entry.get("update_time")) or _time(entry.get("create_time"))
    leaf = nearest.get(str(entry.get("current_node")))
    source = _text(entry.get("conversation_id") or entry.get("id"))
    return Imported(source, _text(entry.get("title")), turns, leaf, at, archived=entry.get("is_archived") is True)


def _chatgpt_turn(message: object, archive: Archive) -> Json | None:
    """The fields of a turn; None for what nobody sees: system messages, calls of tools, their results."""
    if not isinstance(message, dict):
        return None
    author, content, metadata = (_object(message.get(name)) for name in ("author", "content", "metadata"))
    hidden = metadata.get("is_visually_hidden_from_conversation") or message.get("recipient", "all") != "all"
    if hidden or content.get("content_type") in _SILENT:
        return None
    parts = _list(content.get("parts"))
    files = _chatgpt_files(parts, _list(metadata.get("attachments")), archive)
    text = "\n\n".join(filter(None, (_part(part, files) for part in parts))) if parts else _text(content.get("text"))
    return _fields(author.get("role"), text, metadata.get("model_slug"), message.get("create_time"), list(files.values()))


def _chatgpt_files(parts: list[Any], listed: list[Any], archive: Archive) -> dict[str, tuple[str, Enclosed | None]]:
    """The files of a message by their ids: those of its list, and what only a part points at, where the archive has it."""
    files: dict[str, tuple[str, Enclosed | None]] = {}
    for number, file in enumerate(map(_object, listed)):
        pointer = id_of(_text(file.get("id")))
        files[pointer or str(number)] = (_name(file), archive.find(pointer, _text(file.get("name"))))
    for part in parts:
        pointer = _pointer(part)
        if pointer not in files and (held := archive.find(pointer)):
            files[pointer] = (held.name, held)
    return files


def _pointer(part: object) -> str:
    return id_of(_text(_object(part).get("asset_pointer")))


def _part(part: object, named: Collection[str] = ()) -> str:
    """A part's text; nothing for a file that is among the message's files."""
    if isinstance(part, str):
        return part
    return _text(_object(part).get("text")) or ("" if _pointer(part) in named else NOT_TEXT)


def _name(file: Json) -> str:
    return _text(file.get("name")) or _text(file.get("type")) or "a file"


def left_out(names: Sequence[str]) -> str:
    """A line that names the files of a message that stay behind."""
    return f"\n\n*(not imported: {', '.join(names)})*" if names else ""


def _open_webui(entry: Json, budget: _Budget) -> Imported:
    chat = entry["chat"]
    history = _object(chat.get("history"))
    messages = history.get("messages")
    if not isinstance(messages, dict):
        raise Unreadable("it has no history.messages.")
    nodes = {key: (_key(message.get("parentId")), _open_webui_turn(message)) for key, message in _objects(messages)}
    budget.take(len(nodes))
    turns, nearest = _tree(nodes)
    at = _time(entry.get("updated_at")) or _time(chat.get("timestamp"))
    pinned, archived = entry.get("pinned") is True, entry.get("archived") is True
    title = _text(entry.get("title") or chat.get("title"))
    return Imported(_text(entry.get("id")), title, turns, nearest.get(str(history.get("currentId"))), at, pinned, archived)


def _open_webui_turn(message: Json) -> Json | None:
    content = message.get("content")
    files = [_open_webui_file(_object(file)) for file in _list(message.get("files"))]
    if isinstance(content, list):
        pictures = [_open_webui_file({"type": "image", **_object(_object(part).get("image_url"))}) for part in content if _is_picture(part)]
        files += pictures
        text = "\n\n".join(_part(part) for part in content if not _is_picture(part))
    else:
        text = _text(content)
    return _fields(message.get("role"), text, message.get("model"), message.get("timestamp"), files)


def _is_picture(part: object) -> bool:
    return _object(part).get("type") == "image_url"


def _open_webui_file(file: Json) -> tuple[str, Enclosed | None]:
    """Pictures come whole, in their address; of documents only the text that was read."""
    name = _name(file)
    content = _text(_object(_object(file.get("file")).get("data")).get("content"))
    return name, from_text(content, name) if content else from_data_url(_text(file.get("url")), name)


def _patchbay(entry: Json, budget: _Budget) -> Imported:
    messages = {_text(message.get("id")): message for message in map(_object, _list(entry.get("messages")))}
    budget.take(len(messages))
    turns, nearest = _tree({key: (_key(message.get("parent")), _patchbay_turn(message)) for key, message in messages.items()})
    leaf, at = nearest.get(str(entry.get("leaf"))), _time(entry.get("created_at"))
    title, prompt = _text(entry.get("title")), _text(entry.get("system_prompt"))
    return Imported(_text(entry.get("id")), title, turns, leaf, at, system_prompt=prompt)


def _patchbay_turn(message: Json) -> Json | None:
    files = [(_name(_object(file)), None) for file in _list(message.get("attachments"))]
    return _fields(message.get("role"), _text(message.get("text")), message.get("model"), message.get("created_at"), files)


def _fields(role: object, text: str, model: object, at: object, files: Sequence[tuple[str, Enclosed | None]]) -> Json | None:
    """The fields of a turn. Only questions have files; the others are named in the text."""
    asks = role == "user"
    found = tuple(file for _, file in files if file and asks)
    text = _text(text + left_out([name for name, file in files if not (file and asks)])).strip()
    if role not in {"user", "assistant"} or not (text or found):
        return None
    if len(text) > MAX_TEXT:
        raise Unreadable(f"it has a message of more than {MAX_TEXT:,} characters.")
    return {"role": role, "text": text, "model": _text(model)[:300], "at": _time(at), "files": found}


def _tree(nodes: Mapping[str, tuple[str | None, Json | None]]) -> tuple[list[Turn], dict[str, str | None]]:
    """The turns, parents first, and for each node the turn that it is or that comes before it: what is no turn is passed over."""
    children: dict[str | None, list[str]] = defaultdict(list)
    for key, (parent, _turn) in nodes.items():
        children[parent if parent in nodes else None].append(key)
    turns: list[Turn] = []
    nearest: dict[str, str | None] = {}
    waiting: list[tuple[str, str | None]] = [(key, None) for key in children[None]]
    for key, before in waiting:  # grows while it is walked: breadth first, in the file's order
        fields = nodes[key][1]
        if fields:
            turns.append(Turn(key, before, **fields))
        nearest[key] = key if fields else before
        waiting += [(child, nearest[key]) for child in children[key]]
    if len(nearest) < len(nodes):
        raise Unreadable("its messages form a circle.")
    return turns, nearest


def _objects(nodes: Json) -> list[tuple[str, Json]]:
    if not all(isinstance(node, dict) for node in nodes.values()):
        raise Unreadable("a message is no object.")
    return list(nodes.items())


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _key(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _text(value: object) -> str:
    """Text that every database stores: without NUL and lone surrogates."""
    return value.replace("\x00", "").encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    """A time as ISO 8601 has it, or in seconds, milli-, micro- or nanoseconds since the epoch."""
    if isinstance(value, str):
        return _moment(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 < value < 10**20:
        return None
    seconds = float(value)
    while seconds > 1e11:
        seconds /= 1000
    return datetime.fromtimestamp(seconds, UTC)


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
