"""Writes of the backends app, one module a subject."""

from webapp.backends.services.configuration import Rotation, add_backend, add_model, rotate_keys, same_server, set_route
from webapp.backends.services.discovery import Discovery, discover
from webapp.backends.services.seeding import accept_offer, dismiss_offer, look_for_servers, put_first, seed
from webapp.backends.services.tokens import create_token, revoke_token, touch_tokens

__all__ = [
    "Discovery",
    "Rotation",
    "accept_offer",
    "add_backend",
    "add_model",
    "create_token",
    "discover",
    "dismiss_offer",
    "look_for_servers",
    "put_first",
    "revoke_token",
    "rotate_keys",
    "same_server",
    "seed",
    "set_route",
    "touch_tokens",
]
