"""Validate a backend's address, headers, and key variable: at entry, and again on each connection."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from webapp.patterns.errors import InputError
from webapp.patterns.http.addresses import check_base_url

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
RESERVED_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type", "accept-encoding"})
KEY_HEADERS = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})
KEY_PLACEHOLDER = "{api_key}"
# Secrets of Patchbay and its parts, which must never be used as a backend's key.
OWN_VARIABLES = ("PATCHBAY_", "DJANGO_", "DATABASE_URL", "REDIS_URL")


ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/models", "/responses", "/messages")


def clean_base_url(text: str) -> str:
    """Return `text` as a base URL without a trailing slash or endpoint.

    Raises:
        ValidationError: it is not a base URL; the message says what to write instead.
    """
    address, mark, query = text.strip().partition("?")
    url = address.rstrip("/")
    for endpoint in ENDPOINTS:
        url = url.removesuffix(endpoint)
    url = f"{url.rstrip('/')}{mark}{query}" if query else url.rstrip("/")
    validate_base_url(url)
    return url


def alternatives(base_url: str) -> list[str]:
    """Return the base URLs that an incomplete address may mean: most servers answer below `/v1`."""
    address, mark, query = base_url.partition("?")
    parts = urlsplit(address)
    root = f"{parts.scheme}://{parts.netloc}"
    host = parts.hostname or ""
    if host.endswith(".azure.com"):
        found = [f"{root}/openai/v1"]
    elif host == "generativelanguage.googleapis.com":
        found = [f"{root}/v1beta/openai"]
    else:
        head, v1, _ = address.partition("/v1")
        below = [] if v1 else [f"{address}/v1"]
        found = [*([f"{head}/v1"] if v1 else []), *below, f"{root}/v1", f"{root}/api/v1", f"{root}/openai/v1"]
    return [url + (mark + query if "/v1" not in url else "") for url in dict.fromkeys(found) if url != address]


def has_no_path(base_url: str) -> bool:
    """Return whether an address names only a server, such as http://localhost:8080."""
    return urlsplit(base_url).path.strip("/") == ""


def deployment_in(base_url: str) -> str:
    """Return the deployment that an Azure address names, which is its only model; empty for other addresses."""
    found = re.search(r"/deployments/([^/?]+)", base_url)
    return unquote(found[1]) if found else ""


def validate_base_url(url: str) -> None:
    """Refuse an address that is not http(s), carries a user, query, or fragment, or leads to a metadata or link-local address.

    The only allowed query is Azure's `?api-version=`.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValidationError(gettext("This is not a valid address: %(error)s.") % {"error": error}) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValidationError(gettext("Enter an address like http://localhost:11434/v1 or https://api.openai.com/v1."))
    if parts.username or parts.password or parts.fragment or not re.fullmatch(r"(api-version=[\w.-]+)?", parts.query):
        raise ValidationError(gettext("Remove the user, password, query and fragment from the address. Keys go in the key field."))
    if re.search(r"[\s\x00-\x1f]", url):
        raise ValidationError(gettext("An address cannot contain spaces."))
    try:
        check_base_url(url)
    except InputError as error:
        raise ValidationError(error.message) from error


def validate_headers(headers: Any) -> None:
    """Refuse anything but an object of header names and single-line texts."""
    if not isinstance(headers, dict):
        raise ValidationError(gettext('Enter a JSON object, e.g. {"X-Team": "blue"}.'))
    for name, value in headers.items():
        if not HEADER_NAME.match(str(name)) or str(name).lower() in RESERVED_HEADERS:
            raise ValidationError(gettext("%(name)s is not allowed as a header.") % {"name": f"{name!r}"})
        if not isinstance(value, str) or re.search(r"[\r\n\x00]", value) or not value.isascii():
            raise ValidationError(gettext("The value of %(name)s must be one line of plain text.") % {"name": name})
        if str(name).lower() in KEY_HEADERS and KEY_PLACEHOLDER not in value:
            raise ValidationError(
                gettext("Enter the key in the key field and write %(name)s: %(KEY_PLACEHOLDER)s here. Headers are not encrypted.")
                % {"name": name, "KEY_PLACEHOLDER": KEY_PLACEHOLDER}
            )


def with_key(headers: dict[str, str], key: str) -> dict[str, str]:
    """Return `headers` with the key in place of `{api_key}`."""
    return {name: value.replace(KEY_PLACEHOLDER, key) for name, value in headers.items()}


def validate_key_variable(name: str) -> None:
    """Refuse invalid variable names, and the names of Patchbay's own secrets."""
    if not VARIABLE_NAME.match(name):
        raise ValidationError(gettext("Enter the name of an environment variable, e.g. OPENAI_API_KEY."))
    if name.upper().startswith(OWN_VARIABLES):
        raise ValidationError(gettext("%(name)s is one of Patchbay's own secrets: it is never sent to a backend.") % {"name": name})
    if not is_key_variable(name):
        allowed = ", ".join(settings.KEY_VARIABLES)
        raise ValidationError(
            gettext("%(name)s is not a variable for keys. Its name must match %(allowed)s; PATCHBAY_KEY_VARIABLES can allow more names.")
            % {"name": name, "allowed": allowed}
        )


def is_key_variable(name: str) -> bool:
    """Return whether a backend's key may be read from this variable: the server's environment holds other secrets, too."""
    return any(fnmatchcase(name, pattern) for pattern in settings.KEY_VARIABLES)
