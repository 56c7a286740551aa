"""Evaluate arithmetic expressions from untrusted text: no eval, no names except those below, bounded in time and memory."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from webapp.patterns.agent.tools import ToolError

MAX_CHARS = 500
MAX_BITS = 10_000
"""The largest integer: about 3,000 digits."""
MAX_FACTORIAL = 900
SPELLINGS = str.maketrans({"^": "**", "×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "√": "sqrt"})

Number = int | float


class NotArithmeticError(ToolError):
    """Report that a text is not an arithmetic expression, or uses something that the calculator does not support."""


def calculate(expression: str) -> str:
    """Return the value of an arithmetic expression, exact for whole numbers, else to 12 significant digits.

    Knows + - * / // % ** (also written ^ × ÷), brackets, pi, e, tau, and: abs, round, min, max, sum, sqrt, cbrt, exp, log, log2, log10,
    sin, cos, tan, asin, acos, atan, degrees, radians, floor, ceil, factorial, gcd, lcm, comb, hypot.

    Args:
        expression: for example "17 * 23" or "sqrt(2) / 3".
    """
    value = evaluate(expression)
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def evaluate(expression: str) -> Number:
    """Return the value of an expression as a number.

    Raises:
        ToolError: it is not arithmetic, has no value, or is too large; the message says which.
    """
    if len(expression) > MAX_CHARS:
        raise ToolError(f"The expression is too long: at most {MAX_CHARS} characters.")
    try:
        tree = ast.parse(expression.translate(SPELLINGS).strip(), mode="eval")
        value = _value(tree.body)
    except SyntaxError as error:
        raise NotArithmeticError(f"This is not an arithmetic expression: {expression!r}.") from error
    except ZeroDivisionError:
        raise ToolError("Division by zero has no value.") from None
    except (RecursionError, MemoryError, OverflowError):
        raise ToolError("The expression is too deep, or its value too large.") from None
    except (ValueError, TypeError) as error:
        raise ToolError(f"The expression has no value: {error}.") from None
    return _bounded(value)


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return _bounded(BINARY[type(op)](_value(left), _value(right)))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            return UNARY[type(op)](_value(operand))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return _bounded(FUNCTIONS[name](*map(_value, arguments)))
    raise NotArithmeticError(f"{ast.unparse(node)!r} is not arithmetic that this calculator knows.")


def _bounded(value: Any) -> Number:
    """Return a real, finite number within the bounds."""
    if isinstance(value, complex):
        raise ToolError("The value is not a real number.")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ToolError("The value is too large.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ToolError("The value is too large, or not a number.")
    number: Number = value
    return number


def _power(base: Number, exponent: Number) -> Any:
    # Checked first, because a huge power must not be computed. (-8) ** 0.5 is complex, which `_bounded` reports.
    if isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1 and base.bit_length() * exponent > MAX_BITS:
        raise ToolError("The value is too large.")
    return base**exponent


def _factorial(number: Number) -> int:
    if number > MAX_FACTORIAL:
        raise ToolError(f"factorial takes at most {MAX_FACTORIAL}.")
    return math.factorial(_whole(number))


def _comb(number: Number, chosen: Number) -> int:
    if number > MAX_BITS:
        raise ToolError(f"comb takes at most {MAX_BITS}.")
    return math.comb(_whole(number), _whole(chosen))


def _whole(number: Number) -> int:
    if number != int(number):
        raise ToolError(f"{number} is not a whole number.")
    return int(number)


def _round(number: Number, digits: Number = 0) -> Number:
    # Python rounds an integer to 10**n by computing 10**n: minutes for n of a million.
    if abs(digits) > MAX_BITS:
        raise ToolError(f"round takes at most {MAX_BITS} digits.")
    return round(number, _whole(digits)) if digits else round(number)


def _sum(*numbers: Number) -> Number:
    return sum(numbers)


CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e, "tau": math.tau}
BINARY: dict[type[ast.operator], Callable[[Number, Number], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "round": _round,
    "min": min,
    "max": max,
    "sum": _sum,
    "sqrt": math.sqrt,
    "cbrt": math.cbrt,
    "exp": math.exp,
    "log": math.log,
    "ln": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "degrees": math.degrees,
    "radians": math.radians,
    "floor": math.floor,
    "ceil": math.ceil,
    "factorial": _factorial,
    "gcd": math.gcd,
    "lcm": math.lcm,
    "comb": _comb,
    "hypot": math.hypot,
}
