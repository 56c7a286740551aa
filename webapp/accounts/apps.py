"""People: set-up, sign-in, roles, budgets."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "webapp.accounts"
    label = "accounts"

    def prepare(self) -> None:
        """First rows: the group of managers."""
        from webapp.accounts import services

        services.seed_roles()
