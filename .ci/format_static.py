"""Format the product's CSS and JavaScript: `format_static.py` checks, `format_static.py --write` rewrites."""

from __future__ import annotations

import sys
from pathlib import Path

import cssbeautifier
import jsbeautifier

STATIC = Path(__file__).resolve().parents[1] / "webapp" / "static"


def format_css(text: str) -> str:
    """Return the style sheet with one rule and one declaration a line."""
    options = cssbeautifier.default_options()
    options.indent_size, options.newline_between_rules, options.end_with_newline = 2, True, True
    return str(cssbeautifier.beautify(text, options))


def format_js(text: str) -> str:
    """Return the script with one statement a line."""
    options = jsbeautifier.default_options()
    options.indent_size, options.end_with_newline, options.brace_style = 2, True, "collapse,preserve-inline"
    return str(jsbeautifier.beautify(text, options))


def main(*, write: bool) -> int:
    """Format every file, or name those that are not formatted; return the exit code."""
    unformatted = []
    for path in sorted([*STATIC.glob("css/*.css"), *STATIC.glob("js/*.js")]):
        text = path.read_text()
        formatted = (format_css if path.suffix == ".css" else format_js)(text)
        if formatted != text:
            unformatted.append(path)
            if write:
                path.write_text(formatted)
    for path in unformatted:
        print(f"{'formatted' if write else 'would format'} {path.relative_to(STATIC.parents[1])}")
    return int(bool(unformatted) and not write)


if __name__ == "__main__":
    sys.exit(main(write="--write" in sys.argv))
