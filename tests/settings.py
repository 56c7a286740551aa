"""Settings of the tests: a state folder of their own, cheap passwords, nothing looked for outside."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_home = tempfile.mkdtemp(prefix="patchbay-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["PATCHBAY_HOME"] = _home
for _name in (
    "DATABASE_URL",
    "REDIS_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "PATCHBAY_SECRET_KEY",
    "PATCHBAY_ENCRYPTION_KEYS",
):
    os.environ.pop(_name, None)
os.environ["PATCHBAY_DETECT"] = "0"
if _database := os.environ.get("PATCHBAY_TEST_DATABASE_URL"):  # set by tests that run other tests on PostgreSQL
    os.environ["DATABASE_URL"] = _database

from webapp.settings import *  # noqa: E402, F403 - the product's settings, changed below
from webapp.settings import DATABASES, STORAGES  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
# A file, not memory: threads and tasks must see one database, as in production.
DATABASES["default"]["TEST"] = {} if _database else {"NAME": f"{_home}/test.sqlite3"}
