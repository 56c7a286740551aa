r"""TeX to MathML by Temml, which runs in an embedded JavaScript engine (ADR 0015).

Temml and its mhchem extension (`\ce`, `\pu`) are pinned files in `vendor/temml`. The engine has no access to files or network, and its time
and memory are bounded.
"""

from __future__ import annotations

import re
import threading
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import Any

MAX_CHARS = 4000
VENDOR = Path(__file__).parent / "vendor" / "temml"
_SECONDS = 1.0
_BYTES = 128 * 1024 * 1024
_CALLS_PER_COLLECTION = 500
_lock = threading.Lock()

# Environments without numbers: a number that no text refers to is noise in an answer.
_NUMBERED = re.compile(r"\\(begin|end)\{(equation|align|alignat|gather|multline|eqnarray|flalign)\*?\}")
_OPERATOR = re.compile(r"\\DeclareMathOperator(\*?)\{(\\[a-zA-Z]+)\}\{([^{}]*)\}")
_PLAIN_TEXT = re.compile(r"(\\text\{)([^{}$\\]*_[^{}$\\]*)\}")
_UNNUMBERED = {"eqnarray": "align*", "flalign": "align*"}
# Commands of common packages that Temml lacks.
_MACROS = {
    r"\mbox": r"\text{#1}",
    r"\norm": r"\left\lVert #1\right\rVert",
    r"\abs": r"\left\lvert #1\right\rvert",
    r"\dv": r"\frac{\mathrm{d}#1}{\mathrm{d}#2}",
    r"\pdv": r"\frac{\partial #1}{\partial #2}",
    r"\SI": r"#1\,\mathrm{#2}",
    r"\qty": r"#1\,\mathrm{#2}",
    r"\si": r"\mathrm{#1}",
    r"\unit": r"\mathrm{#1}",
    r"\mathds": r"\mathbb{#1}",
    r"\mathbbm": r"\mathbb{#1}",
    r"\Tr": r"\operatorname{Tr}",
    r"\tr": r"\operatorname{tr}",
    r"\argmax": r"\operatorname*{arg\,max}",
    r"\argmin": r"\operatorname*{arg\,min}",
}
# The engine returns a concatenated string in a form that its Python binding cannot read; `join` makes it a plain one.
_GLUE = """
function convert(latex, display, macros) {
  try {
    return ["", temml.renderToString(latex, {displayMode: display, throwOnError: true, trust: false, macros: JSON.parse(macros)})].join("");
  } catch (error) {
    return "";
  }
}
"""
_STYLE = re.compile(r' style="([^"]*)"')
_TAG = re.compile(r'<(\w+)((?: [\w-]+="[^"]*")*)>')
_CLASS = re.compile(r' class="([^"]*)"')
_PADDINGS = {"0em": "0", "0pt": "0", "0.1389em": "1", "0.25em": "2", "0.4em": "4", "5.9776pt": "5", "1em": "10", "2em": "20"}


@lru_cache(maxsize=2048)
def to_mathml(latex: str, *, display: bool) -> str:
    """Return a formula as MathML, or its source as code where it cannot be converted.

    The result is for `sanitize.clean`: styles are classes (`static/css/prose.css`), since the content security policy refuses `style`.
    """
    html = _convert(_prepared(latex), display=display) if len(latex) <= MAX_CHARS else ""
    if not html:
        return f'<code class="math-source">{escape(latex, quote=False)}</code>'
    return _TAG.sub(_styles_to_classes, html)


def _prepared(latex: str) -> str:
    """Return a formula in the words that Temml knows."""
    latex = _NUMBERED.sub(_unnumbered, latex).replace("{tabular}", "{array}")
    latex = _OPERATOR.sub(r"\\def\2{\\operatorname\1{\3}}", latex)
    return _PLAIN_TEXT.sub(lambda found: f"{found[1]}{found[2].replace('_', chr(92) + '_')}}}", latex)


def _unnumbered(found: re.Match[str]) -> str:
    return f"\\{found[1]}{{{_UNNUMBERED.get(found[2], found[2] + '*')}}}"


def _convert(latex: str, *, display: bool) -> str:
    """Return Temml's MathML, or an empty string where Temml refuses the formula or takes too long."""
    import json

    from quickjs import JSException

    engine = _engine()
    with _lock:
        engine.calls += 1
        try:
            return str(engine.convert(latex, display, json.dumps(_MACROS), run_gc=engine.calls % _CALLS_PER_COLLECTION == 0))
        except (JSException, MemoryError):
            return ""


class _Engine:
    """Temml in an interpreter of its own, which runs in a thread of its own."""

    def __init__(self) -> None:
        from quickjs import Function

        sources = [(VENDOR / name).read_text("utf-8") for name in ("temml.min.js", "mhchem.min.js")]
        self.calls = 0
        self.convert: Any = Function("convert", ";".join(["var self = globalThis", *sources, _GLUE]), own_executor=True)
        self.convert.set_time_limit(_SECONDS)
        self.convert.set_memory_limit(_BYTES)


@cache
def _engine() -> _Engine:
    return _Engine()


def _styles_to_classes(found: re.Match[str]) -> str:
    """Return a tag with classes and MathML's own attributes in place of its `style`."""
    tag, attributes = found[1], found[2]
    style = _STYLE.search(attributes)
    if not style:
        return found[0]
    attributes = _STYLE.sub("", attributes)
    classes = []
    for name, value in (rule.split(":", 1) for rule in style[1].split(";") if ":" in rule):
        name, value = name.strip(), value.strip()
        if name == "color":
            attributes += f' mathcolor="{value}"'
        else:
            classes.append(_class_of(name, value))
    words = " ".join(filter(None, classes))
    if not words:
        return f"<{tag}{attributes}>"
    given = _CLASS.search(attributes)
    attributes = attributes.replace(given[0], f' class="{given[1]} {words}"') if given else f'{attributes} class="{words}"'
    return f"<{tag}{attributes}>"


def _class_of(name: str, value: str) -> str:
    if name in {"padding-left", "padding-right"} and value in _PADDINGS:
        return f"tml-p{name[8]}-{_PADDINGS[value]}"
    if name.startswith("border-") and value.endswith("solid"):
        return f"tml-b{name[7]}"
    return {
        ("border", "1px solid"): "tml-fbox",
        ("font-weight", "bold"): "tml-bold",
        ("width", "100%"): "tml-wide",
        ("width", "50%"): "tml-half",
    }.get((name, value), "")
