"""The upstream's files and batches: kept in memory, with a batch that is done after a given number of looks."""

from __future__ import annotations

import email
import email.policy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class FileRoom:
    """Answers everything below /v1/files and /v1/batches.

    Attributes:
        contents: the bytes of each file by id.
        batches: the batch objects by id.
        polls: how many times a batch is looked at before it is completed.
        fail_custom_ids: rows that go to the error file.
    """

    contents: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, Json] = field(default_factory=dict)
    batches: dict[str, Json] = field(default_factory=dict)
    polls: int = 2
    fail_custom_ids: set[str] = field(default_factory=set)
    _looks: dict[str, int] = field(default_factory=dict)

    def answer(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> tuple[int, Any]:
        """The status and body (an object for JSON, or bytes) of one call; `path` begins after /v1."""
        parts = path.strip("/").split("/")
        if parts[0] == "files":
            return self._files(method, parts[1:], headers, raw)
        if parts[0] == "batches":
            return self._batches(method, parts[1:], raw)
        return _missing(path)

    def add(self, name: str, content: bytes, purpose: str = "batch") -> str:
        """Put a file there; its id."""
        identifier = f"file-{len(self.files) + 1}"
        self.contents[identifier] = content
        self.files[identifier] = {
            "id": identifier,
            "object": "file",
            "bytes": len(content),
            "created_at": 1700000000,
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        return identifier

    def _files(self, method: str, parts: list[str], headers: Mapping[str, str], raw: bytes) -> tuple[int, Any]:
        if not parts:
            return (200, self._upload(headers, raw)) if method == "POST" else (200, _page(self.files))
        if parts[0] not in self.files:
            return _missing(parts[0])
        if parts[1:] == ["content"]:
            return 200, self.contents[parts[0]]
        if method == "DELETE":
            del self.files[parts[0]], self.contents[parts[0]]
            return 200, {"id": parts[0], "object": "file", "deleted": True}
        return 200, self.files[parts[0]]

    def _upload(self, headers: Mapping[str, str], raw: bytes) -> Json:
        message = email.message_from_bytes(
            b"content-type: %b\r\n\r\n%b" % (headers["content-type"].encode(), raw), policy=email.policy.HTTP
        )
        fields = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        content, purpose = (bytes(fields[name].get_payload(decode=True)) for name in ("file", "purpose"))
        return self.files[self.add(fields["file"].get_filename() or "", content, purpose.decode())]

    def _batches(self, method: str, parts: list[str], raw: bytes) -> tuple[int, Any]:
        if not parts:
            return (200, self._create(json.loads(raw))) if method == "POST" else (200, _page(self.batches))
        if parts[0] not in self.batches:
            return _missing(parts[0])
        batch = self.batches[parts[0]]
        if parts[1:] == ["cancel"]:
            batch["status"] = "cancelling"
        elif batch["status"] == "cancelling":
            batch["status"] = "cancelled"
        else:
            self._advance(batch)
        return 200, batch

    def _create(self, body: Json) -> Json:
        identifier = f"batch_{len(self.batches) + 1}"
        total = len(self.contents[body["input_file_id"]].splitlines())
        self.batches[identifier] = {
            "id": identifier,
            "object": "batch",
            "created_at": 1700000000,
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": {"total": total, "completed": 0, "failed": 0},
            "metadata": None,
            **body,
        }
        self._looks[identifier] = 0
        return self.batches[identifier]

    def _advance(self, batch: Json) -> None:
        self._looks[batch["id"]] += 1
        if batch["status"] == "completed":
            return
        batch["status"] = "in_progress"
        if self._looks[batch["id"]] >= self.polls:
            self._complete(batch)

    def _complete(self, batch: Json) -> None:
        lines = [json.loads(line) for line in self.contents[batch["input_file_id"]].splitlines()]
        done = [_row(line, 200) for line in lines if line["custom_id"] not in self.fail_custom_ids]
        failed = [_row(line, 500) for line in lines if line["custom_id"] in self.fail_custom_ids]
        batch["status"] = "completed"
        batch["request_counts"] = {"total": len(lines), "completed": len(done), "failed": len(failed)}
        for name, rows in (("output", done), ("error", failed)):
            if rows:
                content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
                batch[f"{name}_file_id"] = self.add(f"{name}.jsonl", content, "batch_output")


def _row(line: Json, code: int) -> Json:
    """The result of one line: an echo of its last message, or an error."""
    said = re.sub(r"\s+", " ", str(line["body"].get("messages", [{}])[-1].get("content", "")))
    choice = {"index": 0, "message": {"role": "assistant", "content": f"echo: {said}"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    good = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "m", "choices": [choice], "usage": usage}
    body: Json = good if code == 200 else {"error": {"message": "failed", "type": "server_error", "param": None, "code": None}}
    response = {"status_code": code, "request_id": "req", "body": body}
    return {"id": f"batch_req_{line['custom_id']}", "custom_id": line["custom_id"], "response": response, "error": None}


def _page(rows: Mapping[str, Json]) -> Json:
    newest_first = list(rows.values())[::-1]
    return {"object": "list", "data": newest_first, "has_more": False}


def _missing(what: str) -> tuple[int, Json]:
    return 404, {"error": {"message": f"No such thing: {what}", "type": "invalid_request_error", "param": None, "code": "not_found"}}
