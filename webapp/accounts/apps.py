"""The accounts app: setup, sign-in, roles, budgets."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Configure the accounts app."""

    name = "webapp.accounts"
    label = "accounts"

    def prepare(self) -> None:
        """Create the group of managers."""
        from webapp.accounts import services

        services.seed_roles()
