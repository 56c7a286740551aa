"""Find the arithmetic that a message asks for: "What is 17*23?", "15% of 80", "the square root of 2 plus 5"."""

from __future__ import annotations

import re

from webapp.patterns.agent.calculator import CONSTANTS, FUNCTIONS, NotArithmeticError, evaluate
from webapp.patterns.agent.tools import ToolError

MAX_MESSAGE_CHARS = 2_000
# Possessive where a number could be read in many ways, so that no input makes the search backtrack.
NUMBER = r"(?:\d++(?:\.\d++)?+|\.\d++)"
ASKING = re.compile(
    r"^(?:(?:please|hey|hi|hello|ok|so|and|now|then|can you|could you|would you|tell me|use the calculator to)[\s,]+)*"
    r"(?:what(?:'s|’s| is| are| does| do you get for)?|how much (?:is|are|does)|calculate|compute|evaluate|work out|solve|calc)?"
    r"(?:\s+(?:the\s+)?(?:value|result|sum|product)\s+of)?[\s:]*",
    re.IGNORECASE,
)
ENDINGS = (" equals", " equal", " equal to", " make", " makes", " please", " thanks", " for me", " in total")
DATE = re.compile(r"^\s*\d{1,4}([-/.])\d{1,2}\1\d{1,4}\s*$|^[\d\s()+-]*\d{3}-\d{3,4}(-\d+)?\s*$")
SPOKEN: list[tuple[str, str]] = [
    (rf"({NUMBER})\s*(?:%|percent)\s+of\s+", r"\1/100*"),
    (r"\b(?:the )?square root of\s*\(?([\w.]+)\)?", r"sqrt(\1)"),
    (r"\b(?:the )?cube root of\s*\(?([\w.]+)\)?", r"cbrt(\1)"),
    (r"\b(?:the )?(?:sum of)\s+", ""),
    (r"\b(?:multiplied by|times)\b", "*"),
    (r"\b(?:divided by|over)\b", "/"),
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"\b(?:to the power of|raised to)\b", "**"),
    (r"\bsquared\b", "**2"),
    (r"\bcubed\b", "**3"),
    (r"\bmod(?:ulo)?\b", "%"),
    (r"(?<=\d)\s*x\s*(?=[\d(.])", "*"),
    (rf"({NUMBER})!", r"factorial(\1)"),
]
ALLOWED = re.compile(rf"(?:\s|{NUMBER}(?:e[+-]?\d++)?+|[-+*/%^×÷−·√(),]|\b(?:{'|'.join([*FUNCTIONS, *CONSTANTS])})\b)++")


def expressions(text: str) -> list[str]:
    """Return the expressions that a message consists of; an empty list if it contains anything else."""
    if len(text) > MAX_MESSAGE_CHARS or not re.search(r"\d|\bpi\b", text):
        return []
    whole = _expression(text)
    if whole:
        return [whole]
    parts = [part for part in re.split(r"\s+and\s+|[;\n?]+", text) if part.strip()]
    found = [_expression(part) for part in parts]
    return [each for each in found if each] if all(found) else []


def _expression(text: str) -> str:
    bare = _without_ending(ASKING.sub("", text.strip(), count=1))
    if DATE.match(bare):
        return ""
    for pattern, replacement in SPOKEN:
        bare = re.sub(pattern, replacement, bare, flags=re.IGNORECASE)
    if "(" not in bare or not re.search(r"[a-z]\(", bare):  # commas between thousands, not between arguments
        bare = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", bare)
    bare = bare.strip()
    return bare if ALLOWED.fullmatch(bare) and re.search(r"[-+*/%^×÷−·√(]", bare.lstrip("-+")) and _is_arithmetic(bare) else ""


def _without_ending(text: str) -> str:
    """Return the text without closing punctuation and words. A loop, because a regular expression for this backtracks endlessly."""
    while True:
        text = text.rstrip(" \t\r\n=?.,")
        courtesy = next((ending for ending in ENDINGS if text.lower().endswith(ending)), "")
        if text.endswith("!") and not text[-2:-1].isdigit():  # 5! is a factorial
            courtesy = "!"
        if not courtesy:
            return text
        text = text[: -len(courtesy)]


def _is_arithmetic(expression: str) -> bool:
    try:
        evaluate(expression)
    except NotArithmeticError:
        return False
    except ToolError:
        return True  # an expression without a value, such as 1/0; the calculator reports it
    return True
