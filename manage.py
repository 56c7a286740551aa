#!/usr/bin/env python
"""Django's command line for Patchbay."""

import os
import sys


def main() -> None:
    """Run a management command, and explain a bad setting or an unreachable database in one line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Invalid settings: {error}")
    except OperationalError as error:
        sys.exit(f"Database error: {error}\nRun manage.py doctor for details.")


if __name__ == "__main__":
    main()
