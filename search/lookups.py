"""Query JSON lists, which Django cannot do on SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import BooleanField, JSONField, Lookup, Q

if TYPE_CHECKING:
    _Lookup = Lookup[str]
else:
    _Lookup = Lookup


@JSONField.register_lookup
class HasElement(_Lookup):
    """Match JSON lists that hold a text: `filter(tags__has_element="invoice")`."""

    lookup_name = "has_element"
    output_field = BooleanField()
    prepare_rhs = False

    def get_db_prep_lookup(self, value: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:  # noqa: ARG002 - Django's signature
        """Return the text as a parameter. As JSON, it would have quotes."""
        return "%s", (value,)

    def as_sqlite(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return SQL that looks at each element."""
        column, value, parameters = self._sides(compiler, connection)
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE json_each.value = {value})", parameters  # noqa: S608 - a column and %s

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return SQL with the operator for an element of a list."""
        column, value, parameters = self._sides(compiler, connection)
        return f"{column} ? {value}", parameters

    def _sides(self, compiler: Any, connection: Any) -> tuple[str, str, list[Any]]:
        column, column_parameters = self.process_lhs(compiler, connection)
        value, value_parameters = self.process_rhs(compiler, connection)
        return column, value, [*column_parameters, *value_parameters]


def has_tag(tag: str) -> Q:
    """Match documents with this tag."""
    return Q(tags__has_element=tag)
