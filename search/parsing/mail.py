"""Mail and saved web pages (EML, MHT): the headers that people read, the body, and the attachments that can be read."""

from __future__ import annotations

import io
from collections.abc import Callable
from email import policy
from email.message import MIMEPart
from email.parser import BytesParser
from typing import BinaryIO

from search.parsing import html
from search.parsing.document import Parsed, Unreadable, Writer
from webapp.core import text_encoding

SHOWN_HEADERS = ("From", "To", "Cc", "Date")
MAX_ATTACHMENTS = 50
MAX_DEPTH = 5

ParseFile = Callable[[BinaryIO, str, int], Parsed]


def parse(raw: bytes, parse_file: ParseFile, depth: int = 0) -> Parsed:
    """Return subject, headers, body and attachments.

    Args:
        parse_file: reads an attachment from (file, name, depth); raises `Unreadable`.
        depth: how many mails and attachments this one lies within.
    """
    message = BytesParser(policy=policy.default.clone(raise_on_defect=False)).parsebytes(raw)
    writer = Writer()
    writer.head(1, str(message.get("Subject") or ""))
    shown = [f"{name}: {value}" for name in SHOWN_HEADERS if (value := str(message.get(name) or ""))]
    writer.add("\n".join(shown))
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None:
        _add_body(writer, body)
    for part in [part for part in message.walk() if _is_attachment(part, body)][:MAX_ATTACHMENTS]:
        _add_attachment(writer, part, parse_file, depth)
    return writer.parsed("mail")


def _add_body(writer: Writer, body: MIMEPart) -> None:
    raw = _payload(body)
    if body.get_content_subtype() == "html":
        writer.include(html.parse(raw, whole=True, declared=body.get_content_charset() or ""))
    else:
        decoded = text_encoding.decode(raw, body.get_content_charset() or "")
        writer.add(decoded.text)


def _payload(part: MIMEPart) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _is_attachment(part: MIMEPart, body: MIMEPart | None) -> bool:
    return part is not body and not part.is_multipart() and bool(part.get_filename())


def _add_attachment(writer: Writer, part: MIMEPart, parse_file: ParseFile, depth: int) -> None:
    name = part.get_filename() or "attachment"
    writer.mark(2, name)
    writer.add(f"Attachment: {name}")
    if part.get_content_maintype() in ("image", "audio", "video"):
        return
    if depth >= MAX_DEPTH:
        writer.note(f"The attachment “{name}” was not read: it lies within too many others.")
        return
    try:
        writer.include(parse_file(io.BytesIO(_payload(part)), name, depth + 1), deeper=2)
    except (Unreadable, text_encoding.BinaryDataError) as error:
        writer.note(f"The attachment “{name}” was not read: {str(error)[:1].lower() + str(error)[1:]}.")
