"""LaTeX to MathML."""

from __future__ import annotations

from functools import lru_cache
from html import escape

MAX_CHARS = 4000


@lru_cache(maxsize=512)
def to_mathml(latex: str, *, display: bool) -> str:
    """MathML of a formula, or its source as code where it cannot be converted."""
    source = f'<code class="math-source">{escape(latex, quote=False)}</code>'
    if len(latex) > MAX_CHARS:
        return source
    from latex2mathml.converter import convert

    try:
        return str(convert(latex, display="block" if display else "inline"))
    except Exception:  # noqa: BLE001 - the converter's errors share no base class; the reader gets the source
        return source
