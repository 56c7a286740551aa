"""Django settings: one file, read from the environment through `webapp.core.env`. docs/configuration.md lists the variables."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dj_database_url
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from webapp.core import env

BASE_DIR = env.ROOT
PATCHBAY_HOME = env.home()
DEBUG = env.flag("PATCHBAY_DEBUG", default=False)
SECRET_KEY = env.secret_key(debug=DEBUG)
REDIS_URL = env.text("REDIS_URL")
# After this time without a heartbeat, another process takes over the work of a process.
LEASE = timedelta(seconds=env.number("PATCHBAY_LEASE_SECONDS", 30))
# Seconds that a stopping server waits for running answers. An unfinished answer is then kept as interrupted.
STOP_GRACE = env.number("PATCHBAY_STOP_GRACE", 2)

ALLOWED_HOSTS = env.items("PATCHBAY_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
# More origins (scheme, host, port) that may post forms and open websockets.
TRUSTED_ORIGINS = env.items("PATCHBAY_TRUSTED_ORIGINS")
CSRF_TRUSTED_ORIGINS = TRUSTED_ORIGINS
CORS_ORIGINS = env.items("PATCHBAY_CORS_ORIGINS")
PATCHBAY_BUILTIN = env.flag("PATCHBAY_BUILTIN", default=True)
PATCHBAY_DETECT = env.flag("PATCHBAY_DETECT", default=True)

INSTALLED_APPS = [
    "webapp.accounts.apps.AccountsConfig",
    "webapp.admin.PatchbayAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic",
    "django.contrib.staticfiles",
    "channels",
    "django_htmx",
    "csp",
    "axes",
    "webapp.apps.WebappConfig",
    "webapp.backends.apps.BackendsConfig",
    "webapp.toolservers.apps.ToolServersConfig",
    "webapp.builtin.apps.BuiltinConfig",
    "webapp.gateway.apps.GatewayConfig",
    "chat.apps.ChatConfig",
    "batches.apps.BatchesConfig",
    "search.apps.SearchConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "webapp.server.compression.compressed_pages",
    "csp.middleware.CSPMiddleware",
    "webapp.server.request_validation.validate_requests",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "webapp.server.request_validation.HostCheck",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "webapp.accounts.languages.languages",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "webapp.server.private_pages.private_pages",
]

ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "webapp.server.context_processors.page",
            ],
            "builtins": [
                "django.templatetags.i18n",
                "django.templatetags.static",
                "django_htmx.templatetags.django_htmx",
                "webapp.templatetags.ui",
            ],
        },
    }
]


# The pool doubles its pauses between attempts until this limit. After that, the next request makes the next attempt.
RECONNECT_SECONDS = 3


def _database() -> dict[str, Any]:
    url = env.text("DATABASE_URL")
    if not url or url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///") or str(PATCHBAY_HOME / "patchbay.sqlite3")
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": path,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                # Waiting connections ask every 100 ms, and a writer without pauses hardly leaves them a gap: with eight such
                # writers on a busy machine, single waits exceeded 20 s.
                "timeout": 60,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA mmap_size=134217728;",
            },
        }
    if not url.startswith(("postgres://", "postgresql://")):
        raise ImproperlyConfigured("DATABASE_URL: only postgres:// and sqlite:/// addresses are supported")
    config: dict[str, Any] = dict(dj_database_url.parse(url))
    # No persistent connections under ASGI; psycopg's pool instead. Each is checked before use: the server may have restarted.
    pool = {"min_size": 1, "max_size": env.number("PATCHBAY_DB_POOL", 16), "timeout": 3, "reconnect_timeout": RECONNECT_SECONDS}
    config["OPTIONS"] = {**config.get("OPTIONS", {}), "pool": pool, "connect_timeout": 5}
    config["CONN_HEALTH_CHECKS"] = True
    return config


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The layer waits up to 5 s for a message, so the socket's timeout must be longer (redis-py's default is also 5 s).
_REDIS_HOST = {"address": REDIS_URL, "socket_timeout": 20, "socket_connect_timeout": 3}
# The environment variables that a backend's key may be read from, as patterns.
KEY_VARIABLES = env.items("PATCHBAY_KEY_VARIABLES", "*_API_KEY,*_API_TOKEN")
# Set by `up --workers N` for each of its processes; 1 where a process serves alone.
WORKERS = env.number("PATCHBAY_WORKERS", 1)
if REDIS_URL:
    _layer: dict[str, Any] = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [_REDIS_HOST]}}
elif WORKERS > 1:
    _layer = {"BACKEND": "webapp.server.local_layer.LocalChannelLayer", "CONFIG": {"folder": str(PATCHBAY_HOME / "workers")}}
else:
    _layer = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {"default": _layer}
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "accounts:login"
AXES_FAILURE_LIMIT = 10
# Failed sign-ins from one address with any names, within the time below, after which none is tried any more.
ADDRESS_FAILURE_LIMIT = 50
AXES_COOLOFF_TIME = timedelta(minutes=10)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "webapp.accounts.views.locked_out"
AXES_CLIENT_IP_CALLABLE = "webapp.accounts.throttling.client_address"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # ten minutes are ten minutes
AXES_ENABLE_ADMIN = False

LANGUAGE_CODE = "en"
LANGUAGES = [
    ("en", "English"),
    ("de", "Deutsch"),
    ("fr", "Français"),
    ("es", "Español"),
    ("ja", "日本語"),
    ("zh-hans", "简体中文"),
]
LANGUAGE_COOKIE_NAME = "language"
LOCALE_PATHS = [BASE_DIR / "webapp" / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = "webapp.formats"

STATIC_URL = "/static/"
STATIC_ROOT = PATCHBAY_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "webapp" / "static"]
STORAGES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "servestatic.storage.CompressedManifestStaticFilesStorage"},
}
MEDIA_ROOT = PATCHBAY_HOME / "files"
if S3_BUCKET := env.text("PATCHBAY_S3_BUCKET"):  # `webapp.core.file_store`; boto3 reads the keys from its own variables
    STORAGES["files"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "endpoint_url": env.text("PATCHBAY_S3_ENDPOINT") or None,
            "region_name": env.text("PATCHBAY_S3_REGION") or None,
            "location": env.text("PATCHBAY_S3_PREFIX"),
            "file_overwrite": True,
            "default_acl": None,
        },
    }
# Bytes of the local copies of files that are in the store; 0 keeps all (`webapp.core.file_cache`).
FILE_CACHE_BYTES = env.number("PATCHBAY_S3_CACHE_MB", 0) * 1_000_000
# Characters of an answer in the chat, reasoning included. A model that never stops must not fill the memory of every reader.
CHAT_ANSWER_CHARS = env.number("PATCHBAY_CHAT_ANSWER_CHARS", 1_000_000)
# Days after which an ended batch is deleted, with its results and input; 0 keeps all.
BATCH_RETENTION_DAYS = env.number("PATCHBAY_BATCH_RETENTION_DAYS", 0)
# Days for which attempts are kept individually. Older ones are summed by day. 0 keeps all.
ATTEMPT_RETENTION_DAYS = env.number("PATCHBAY_ATTEMPT_RETENTION_DAYS", 30)
# Days for which the responses of /v1/responses are stored, with their events; 0 keeps all.
RESPONSE_RETENTION_DAYS = env.number("PATCHBAY_RESPONSE_RETENTION_DAYS", 30)
# Limits per minute of each user without limits of their own; 0 for no limit.
REQUESTS_PER_MINUTE = env.number("PATCHBAY_REQUESTS_PER_MINUTE", 0)
TOKENS_PER_MINUTE = env.number("PATCHBAY_TOKENS_PER_MINUTE", 0)
FILE_UPLOAD_TEMP_DIR = None
DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
DATA_UPLOAD_MAX_NUMBER_FILES = 2000  # a folder dropped on a collection

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "frame-src": [SELF],  # diagrams and previews, each in a sandbox of its own (ADR 0016)
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "report-uri": "/csp-report/",
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "webapp.server.views.csrf_failure"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 60 * 60 * 24 * 30

# Sign-in through an OpenID Connect provider: an optional extra (requirements/oidc.txt, docs/operating.md).
OIDC_ISSUER = env.text("PATCHBAY_OIDC_ISSUER").rstrip("/")
OIDC_NAME = env.text("PATCHBAY_OIDC_NAME", "single sign-on")
OIDC_SIGN_UP = env.flag("PATCHBAY_OIDC_SIGN_UP", default=True)
if OIDC_ISSUER:
    INSTALLED_APPS += ["allauth", "allauth.account", "allauth.socialaccount", "allauth.socialaccount.providers.openid_connect"]
    MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]
    AUTHENTICATION_BACKENDS += ["allauth.account.auth_backends.AuthenticationBackend"]
    ACCOUNT_EMAIL_VERIFICATION = "none"
    SOCIALACCOUNT_ADAPTER = "webapp.accounts.oidc.Adapter"
    SOCIALACCOUNT_ONLY = True
    _oidc_app = {
        "provider_id": "oidc",
        "name": OIDC_NAME,
        "client_id": env.text("PATCHBAY_OIDC_CLIENT_ID"),
        "secret": env.text("PATCHBAY_OIDC_CLIENT_SECRET"),
        "settings": {"server_url": OIDC_ISSUER, "oauth_pkce_enabled": True},
    }
    SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [_oidc_app]}}
    # The sign-in button is a form, so the CSP must allow its target.
    CONTENT_SECURITY_POLICY["DIRECTIVES"]["form-action"] = [SELF, "/".join(OIDC_ISSUER.split("/")[:3])]

# The largest accepted body, in bytes. Enforced while it arrives, before it is buffered.
MAX_BODY_BYTES = 20 * 1024 * 1024
MAX_UPLOAD_BYTES = 210 * 1024 * 1024  # a Batch API file of 200 MB, and its form
MAX_MEDIA_BYTES = 60 * 1024 * 1024  # recordings and pictures for /v1/audio and /v1/images
BODY_LIMITS = {
    "/v1/files": MAX_UPLOAD_BYTES,
    "/v1/audio/": MAX_MEDIA_BYTES,
    "/v1/images/": MAX_MEDIA_BYTES,
    "/batches/new/": MAX_UPLOAD_BYTES,
    "/search/": MAX_UPLOAD_BYTES,
    "/chat/files/": MAX_UPLOAD_BYTES,
    "/chat/import/": MAX_UPLOAD_BYTES,
    "/csp-report/": 64 * 1024,
}

# Connections that one address may have open at once, sockets included; 0 for any number. A proxy counts as one address.
CONNECTIONS_PER_ADDRESS = env.number("PATCHBAY_CONNECTIONS_PER_ADDRESS", 0 if env.flag("PATCHBAY_BEHIND_PROXY", default=False) else 512)

# Every user can enter webhooks, so they may not call private networks unless this is set.
PRIVATE_WEBHOOKS = env.flag("PATCHBAY_PRIVATE_WEBHOOKS", default=False)
# Hosts whose tool servers users may add for themselves, and name by address in /v1/responses; "*" for any public one.
TOOL_SERVER_HOSTS = [host.lower() for host in env.items("PATCHBAY_TOOL_SERVER_HOSTS")]

# Behind a proxy that ends TLS and sets X-Forwarded-Proto and X-Forwarded-For itself.
BEHIND_PROXY = env.flag("PATCHBAY_BEHIND_PROXY", default=False)
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# HTTPS only: cookies never leave over plain HTTP, browsers are told to stay on TLS for a year.
HTTPS_ONLY = env.flag("PATCHBAY_HTTPS_ONLY", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS_ONLY
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS_ONLY
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
# Bearer token for Prometheus text at /metrics; empty for off.
METRICS_TOKEN = env.text("PATCHBAY_METRICS_TOKEN")

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "secrets": {"()": "webapp.server.logs.SecretFilter"},
        "no_traceback": {"()": "webapp.server.logs.NoTraceback"},
        "repeats": {"()": "webapp.server.logs.RateLimitFilter"},
        "away": {"()": "webapp.server.logs.DropDatabaseTracebacks"},
    },
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name} [{request_id}] {message}", "style": "{"},
        "json": {"()": "webapp.server.logs.JsonFormatter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "filters": ["secrets", "repeats"],
            "formatter": env.text("PATCHBAY_LOG_FORMAT", "line"),
        },
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "patchbay": {"level": "INFO"},
        "django.request": {"level": "ERROR", "filters": ["away"]},  # 404 and 403 are normal answers
        "psycopg.pool": {"level": "ERROR"},  # the caller reports the failure
        "django.security.csrf": {"level": "ERROR"},
        "django.security.DisallowedHost": {"filters": ["no_traceback"]},  # network scanners cause these
        "axes": {"level": "WARNING"},
    },
}
