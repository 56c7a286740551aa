"""Write the objects of the backends app, one module per subject."""

from webapp.backends.services.configuration import Rotation, add_backend, add_model, free_name, rotate_keys, same_server, set_route
from webapp.backends.services.discovery import Discovery, discover
from webapp.backends.services.probing import cancel_benchmark, launch_benchmark, start_benchmark, start_probe
from webapp.backends.services.rollouts import promote_rollout, start_rollout, stop_rollout
from webapp.backends.services.routes import RouteChanged, save_route, version_of
from webapp.backends.services.seeding import (
    accept_offer,
    add_to_default,
    dismiss_offer,
    look_for_servers,
    model_to_begin_with,
    put_first,
    seed,
)
from webapp.backends.services.tokens import create_token, revoke_token, touch_tokens

__all__ = [
    "Discovery",
    "Rotation",
    "RouteChanged",
    "accept_offer",
    "add_backend",
    "add_model",
    "add_to_default",
    "cancel_benchmark",
    "create_token",
    "discover",
    "dismiss_offer",
    "free_name",
    "launch_benchmark",
    "look_for_servers",
    "model_to_begin_with",
    "promote_rollout",
    "put_first",
    "revoke_token",
    "rotate_keys",
    "same_server",
    "save_route",
    "seed",
    "set_route",
    "start_benchmark",
    "start_probe",
    "start_rollout",
    "stop_rollout",
    "touch_tokens",
    "version_of",
]
