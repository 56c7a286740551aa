"""The built-in embedding models: loaded at the first use, each once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from webapp.builtin import E5, MINILM

if TYPE_CHECKING:
    from webapp.builtin.embedding.encoder import Encoder

_locks = {E5.name: threading.Lock(), MINILM.name: threading.Lock()}
_loaded: dict[str, Encoder] = {}


def model(name: str) -> Encoder:
    """Return a model by its name. The first call loads it and blocks.

    Raises:
        ModelUnavailable: the weights are not installed, or not the published ones.
    """
    from webapp.builtin.embedding import e5, minilm

    loaders = {E5.name: e5.load, MINILM.name: minilm.load}
    with _locks[name]:
        if name not in _loaded:
            _loaded[name] = loaders[name]()
        return _loaded[name]
