"""A code block with its head: the language, and buttons to wrap its lines, download it and copy it (`static/js/code.js`)."""

from __future__ import annotations

from html import escape

_PREVIEWS = {"mermaid": "mermaid", "html": "html", "htm": "html", "xhtml": "html", "svg": "svg"}
"""Languages that the page can draw in a sandboxed frame."""
_BUTTONS = (
    '<button type="button" data-code="wrap" aria-pressed="false">Wrap</button>'
    '<button type="button" data-code="download">Download</button>'
    '<button type="button" data-copy="code">Copy</button>'
)


def code_block(inner: str, language: str = "") -> str:
    """Return a code block around `inner`, which is safe HTML."""
    preview = _PREVIEWS.get(language.lower(), "")
    kind = f' data-preview="{preview}"' if preview else ""
    name = escape(language[:40])
    head = f'<span class="code-language">{name}</span><span class="code-buttons">{_BUTTONS}</span>'
    return f'<div class="code"{kind}><div class="code-head">{head}</div><pre tabindex="0" dir="ltr"><code>{inner}</code></pre></div>\n'
