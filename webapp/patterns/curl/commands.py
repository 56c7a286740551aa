"""Convert any request to a curl command, and a curl command to a request or a backend.

    print(to_curl({"model": "gpt-4o", "messages": [...]}, "https://api.openai.com/v1"))
    parsed = from_curl("curl http://localhost:8000/v1/chat/completions -d '{…}'")
    parsed.request, parsed.base_url

A command runs as pasted into a POSIX shell. It never contains keys: they appear as `$OPENAI_API_KEY`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from webapp.patterns.curl.shell_words import HEREDOC, split
from webapp.patterns.errors import InputError
from webapp.patterns.types import Json, Request

KEY_VARIABLE = "OPENAI_API_KEY"
_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "proxy-authorization", "cookie"})
_LONGEST_ARGUMENT = 100_000  # bytes: Linux takes 131,071 in one argument
_ENDPOINTS = ("chat/completions", "completions", "embeddings", "models", "responses", "files", "batches")


def to_curl(
    body: Mapping[str, Any] | None,
    base_url: str,
    path: str = "chat/completions",
    *,
    headers: Mapping[str, str] | None = None,
    key_variable: str = KEY_VARIABLE,
) -> str:
    """Return the command that sends `body` to `path` below `base_url`; a GET if `body` is None.

    Args:
        headers: additional headers. The variable replaces a secret value.
        key_variable: the shell variable that holds the key; empty for a server without one.
    """
    streams = bool(body and body.get("stream"))
    url = f"{base_url.rstrip('/')}/{path.lstrip('/')}"
    lines = [f"curl {'-N ' if streams else ''}{'-g ' if set(url) & set('[]{}') else ''}{shlex.quote(url)}"]
    given = {name: value for name, value in (headers or {}).items() if name.lower() != "content-type"}
    if key_variable and not any(name.lower() in _SECRET_HEADERS for name in given):
        given = {"Authorization": "Bearer", **given}
    if body is not None:
        given = {"Content-Type": "application/json", **given}
    lines += [_header(name, value, key_variable) for name, value in given.items()]
    if body is None:
        return " \\\n  ".join(lines)
    text = _dump(body)
    if len(text.encode()) <= _LONGEST_ARGUMENT:
        return " \\\n  ".join([*lines, f"-d {shlex.quote(text)}"])
    return " \\\n  ".join([*lines, "--data-binary @- <<'PATCHBAY_BODY'"]) + f"\n{text}\nPATCHBAY_BODY"


def _header(name: str, value: str, key_variable: str) -> str:
    if name.lower() not in _SECRET_HEADERS:
        return f"-H {shlex.quote(f'{name}: {value}' if value else f'{name};')}"
    scheme = "Bearer " if value.lower().startswith("bearer") else ""
    return f'-H "{name}: {scheme}${key_variable or KEY_VARIABLE}"'


def _dump(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: only an escape can carry it
        return json.dumps(body, indent=2)
    return text


@dataclass(frozen=True, slots=True)
class Parsed:
    """The request of a curl command.

    Attributes:
        base_url: the address up to the endpoint, as a backend has it; `path` is the endpoint below it, with the query.
        headers: those other than the type of the body and the key.
        api_key: the key, if the command holds one; `key_variable` is the shell variable, if it names one instead.
        body: the decoded JSON; None for a GET.
    """

    method: str
    base_url: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    api_key: str = field(default="", repr=False)
    key_variable: str = ""
    body: Json | None = None

    @property
    def request(self) -> Request:
        """Return the request to send through any backend.

        Raises:
            InputError: the command has no body.
        """
        if self.body is None:
            raise InputError("This curl command sends no body: there is no request in it", code="curl_without_body")
        return Request(self.body, self.path)

    @property
    def model(self) -> str:
        """Return the model that the body names, or an empty text."""
        return str((self.body or {}).get("model") or "")


def from_curl(text: str) -> Parsed:
    """Parse the curl command in `text`, as shells, browsers' "copy as cURL", and documentation write it.

    Raises:
        InputError: it is not a curl command, reads files, or its body is not a JSON object.
    """
    command = _Command(split(text))
    url = command.url()
    base_url, path = _endpoint(url)
    headers = command.headers()
    secret = next((headers.pop(name) for name in list(headers) if name.lower() in {"authorization", "api-key", "x-api-key"}), "")
    key, variable = _key(secret or command.user())
    body = command.body()
    method = command.last("-X") or ("GET" if body is None else "POST")
    kept = {name: value for name, value in headers.items() if name.lower() not in {"content-type", "accept", "content-length", "host"}}
    return Parsed(method.upper(), base_url, path, kept, key, variable, body)


def _endpoint(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    path = parts.path.strip("/")
    query = f"?{parts.query}" if parts.query else ""
    root = f"{parts.scheme}://{parts.netloc}"
    for endpoint in _ENDPOINTS:
        head, found, tail = f"/{path}/".rpartition(f"/{endpoint}/")
        if found:
            return f"{root}{head}", f"{endpoint}/{tail}".strip("/") + query
    return f"{root}/{path}".rstrip("/"), ""


def _key(header: str) -> tuple[str, str]:
    value = header.removeprefix("Bearer ").removeprefix("bearer ").strip()
    if value.startswith("$"):
        return "", value[1:].strip("{}")
    return value, ""


_NAMES = {
    "--request": "-X",
    "--header": "-H",
    "--data": "-d",
    "--data-ascii": "-d",
    "--data-binary": "-d",
    "--user": "-u",
    "--form": "-F",
    "--form-string": "-F",
    "--upload-file": "-T",
    "--user-agent": "-A",
    "--cookie": "-b",
}
_SHORT_WITH_VALUE = frozenset("AbCcDdEeFHKmoPQrTtUuwXxYyz")
_LONG_FLAGS = frozenset(
    [
        "silent",
        "show-error",
        "no-buffer",
        "insecure",
        "location",
        "include",
        "verbose",
        "fail",
        "fail-with-body",
        "globoff",
        "get",
        "head",
        "compressed",
        "http1.0",
        "http1.1",
        "http2",
        "http2-prior-knowledge",
        "http3",
        "tlsv1",
        "tlsv1.2",
        "tlsv1.3",
        "no-keepalive",
        "no-progress-meter",
        "progress-bar",
        "ipv4",
        "ipv6",
        "remote-name",
        "ssl-no-revoke",
        "path-as-is",
        "parallel",
        "location-trusted",
        "create-dirs",
        "tcp-nodelay",
    ]
)


class _Command:
    """The options of a curl command by canonical name, in the given order."""

    def __init__(self, words: Sequence[str]) -> None:
        start = next((number + 1 for number, word in enumerate(words) if word.rpartition("/")[2] in {"curl", "curl.exe"}), None)
        if start is None:
            raise InputError("This is not a curl command", code="invalid_curl")
        self.options: list[tuple[str, str]] = []
        words = list(words[start:])
        while words:
            self._take(words.pop(0), words)

    def _take(self, word: str, rest: list[str]) -> None:
        if word == HEREDOC:
            self.options.append((HEREDOC, rest.pop(0)))
        elif word.startswith("--"):
            self._take_long(word, rest)
        elif word.startswith("-") and len(word) > 1:
            self._take_short(word[1:], rest)
        else:
            self.options.append(("--url", word))

    def _take_long(self, word: str, rest: list[str]) -> None:
        flag = word[2:] in _LONG_FLAGS or word.startswith("--no-")
        unknown = word not in _NAMES and word not in {"--data-raw", "--json", "--url"}
        if flag or (unknown and (not rest or rest[0].startswith("-") or "://" in rest[0])):
            self.options.append((_NAMES.get(word, word), ""))
        else:
            self.options.append((_NAMES.get(word, word), rest.pop(0) if rest else ""))

    def _take_short(self, letters: str, rest: list[str]) -> None:
        for at, letter in enumerate(letters, 1):
            if letter in _SHORT_WITH_VALUE:
                value = letters[at:] or (rest.pop(0) if rest else "")
                self.options.append((f"-{letter}", value))
                return
            self.options.append((f"-{letter}", ""))

    def all(self, *names: str) -> list[tuple[str, str]]:
        return [option for option in self.options if option[0] in names]

    def last(self, name: str) -> str:
        return next((value for found, value in reversed(self.options) if found == name), "")

    def url(self) -> str:
        """Return the address; plain http without a scheme, as curl does."""
        url = next((value for _, value in self.all("--url")), "")
        if "://" not in url:
            url = f"http://{url}"
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise InputError("The curl command has no http address", code="invalid_curl")
        return url

    def headers(self) -> dict[str, str]:
        found = {"-A": "User-Agent", "-b": "Cookie"}
        headers = {found[name]: value for name, value in self.all("-A", "-b")}
        for _, line in self.all("-H"):
            name, _, value = line.partition(":")
            if value.strip():
                headers[name.strip()] = value.strip()
        return headers

    def user(self) -> str:
        """Return the password of `-u user:password`, which servers behind basic authentication use as the key."""
        return self.last("-u").partition(":")[2]

    def body(self) -> Json | None:
        """Return the JSON object that is sent; None without one."""
        if self.all("-F", "-T"):
            raise InputError("The curl command uploads a file: only JSON requests can be read", code="curl_reads_file")
        given = self.all("-d", "--data-raw", "--json")
        if not given:
            return None
        text = "".join(self._data(name, value) for name, value in given)
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"The body of the curl command is not JSON: {error}", code="invalid_json") from error
        if not isinstance(body, dict):
            raise InputError("The body of the curl command is not a JSON object", code="invalid_json")
        return body

    def _data(self, name: str, value: str) -> str:
        if name == "--data-raw" or not value.startswith("@"):
            return value
        document = self.last(HEREDOC)
        if value != "@-" or not document:
            raise InputError(
                f"The curl command reads its body from {value[1:] or 'a file'}: paste the body in its place", code="curl_reads_file"
            )
        return document
