"""What an administrator may enter as a backend's address, headers and key variable: checked at entry, and again on each connection."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from webapp.patterns.errors import InputError
from webapp.patterns.http.addresses import check_base_url

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
RESERVED_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type", "accept-encoding"})
KEY_HEADERS = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})
KEY_PLACEHOLDER = "{api_key}"
# Secrets of Patchbay itself and of its parts: never a backend's key, however it is asked for.
OWN_VARIABLES = ("PATCHBAY_", "DJANGO_", "DATABASE_URL", "REDIS_URL")


def clean_base_url(text: str) -> str:
    """`text` as a base URL without its trailing slash or endpoint; raises `ValidationError` saying what to write instead."""
    url = text.strip().rstrip("/")
    for endpoint in ("/chat/completions", "/completions", "/embeddings", "/messages", "/models"):
        url = url.removesuffix(endpoint)
    validate_base_url(url)
    return url


def validate_base_url(url: str) -> None:
    """Refuse what is no http(s) address, carries a user, query or fragment, or points at a metadata or link-local address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValidationError(f"This is not a valid address: {error}.") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValidationError("Enter an address like http://localhost:11434/v1 or https://api.openai.com/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValidationError("Remove the user, password, query and fragment from the address. Keys go in the key field.")
    if re.search(r"[\s\x00-\x1f]", url):
        raise ValidationError("An address cannot contain spaces.")
    try:
        check_base_url(url)
    except InputError as error:
        raise ValidationError(error.message) from error


def validate_headers(headers: Any) -> None:
    """Refuse what is not an object of header names and single-line texts."""
    if not isinstance(headers, dict):
        raise ValidationError('Enter a JSON object, e.g. {"X-Team": "blue"}.')
    for name, value in headers.items():
        if not HEADER_NAME.match(str(name)) or str(name).lower() in RESERVED_HEADERS:
            raise ValidationError(f"{name!r} is not allowed as a header.")
        if not isinstance(value, str) or re.search(r"[\r\n\x00]", value) or not value.isascii():
            raise ValidationError(f"The value of {name} must be one line of plain text.")
        if str(name).lower() in KEY_HEADERS and KEY_PLACEHOLDER not in value:
            raise ValidationError(f"Enter the key in the key field and write {name}: {KEY_PLACEHOLDER} here. Headers are not encrypted.")


def with_key(headers: dict[str, str], key: str) -> dict[str, str]:
    """`headers` with the key where a value says `{api_key}`."""
    return {name: value.replace(KEY_PLACEHOLDER, key) for name, value in headers.items()}


def validate_key_variable(name: str) -> None:
    """Refuse what is no variable name, and the names of Patchbay's own secrets."""
    if not VARIABLE_NAME.match(name):
        raise ValidationError("Enter the name of an environment variable, e.g. OPENAI_API_KEY.")
    if name.upper().startswith(OWN_VARIABLES):
        raise ValidationError(f"{name} is one of Patchbay's own secrets: it is never sent to a backend.")
