"""Tests that the undocumented names on which the Daphne subclasses depend exist."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import webapp.server.daphne
from webapp.server.daphne import PRIVATE_NAMES

PACKAGE = Path(webapp.server.daphne.__file__).parent
CASES = [(owner, name) for owner, names in PRIVATE_NAMES.items() for name in names]


@pytest.mark.parametrize(("owner", "name"), CASES, ids=lambda value: str(value).rpartition(".")[2])
def test_a_private_name_exists(owner: str, name: str) -> None:
    module, _, class_name = owner.partition(":")
    found = import_module(module)
    if not class_name:
        assert hasattr(found, name), f"{module} has no {name} any more: adapt webapp/server/daphne"
        return
    bases = getattr(found, class_name).__mro__[:-1]
    exists = any(name in vars(base) or f"self.{name}" in inspect.getsource(base) for base in bases if inspect.isclass(base))
    assert exists, f"{owner} has no {name} any more: adapt webapp/server/daphne"


def test_every_private_name_that_is_used_is_listed() -> None:
    listed = {name for names in PRIVATE_NAMES.values() for name in names}
    trees = [ast.parse(path.read_text()) for path in PACKAGE.glob("*.py")]
    own = {name for tree in trees for name in defined(tree)}
    used = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr)}
    assert used - own - listed == set()


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(tree: ast.Module) -> set[str]:
    """Return the private names that the package itself defines: functions, and attributes that it assigns."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        flat = [item for target in targets for item in (target.elts if isinstance(target, ast.Tuple) else [target])]
        names |= {target.attr for target in flat if isinstance(target, ast.Attribute)}
        names |= {target.id for target in flat if isinstance(target, ast.Name)}
    return {name for name in names if is_private(name)}
