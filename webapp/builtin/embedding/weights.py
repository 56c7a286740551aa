"""Find the files of weights in installed packages, and check that they are the published ones."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from webapp.builtin import ModelUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def installed(package: str, model: str) -> Path:
    """Return the folder of a package, without importing it.

    Raises:
        ModelUnavailable: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.origin:
        raise ModelUnavailable(f"The weights of {model} are not installed: run `make run` once, or install requirements/model.txt")
    return Path(spec.origin).parent


def checked(path: Path, digest: str, package: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        ModelUnavailable: their SHA-256 is not `digest`.
    """
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != digest:
        raise ModelUnavailable(f"{path} is not the published file: install {package} again")
    return raw


def mapped(path: Path, digest: str, package: str) -> NDArray[np.uint8]:
    """Return the bytes of a file as a mapped array: pages that are not used again take no memory.

    Raises:
        ModelUnavailable: their SHA-256 is not `digest`.
    """
    import numpy as np

    raw = np.asarray(np.memmap(path, np.uint8, mode="r"))
    if hashlib.sha256(raw.data).hexdigest() != digest:
        raise ModelUnavailable(f"{path} is not the published file: install {package} again")
    return raw
