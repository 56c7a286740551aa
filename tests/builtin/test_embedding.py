"""The forward pass against vectors that sentence-transformers made (tests/builtin/minilm_reference.json)."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from webapp.builtin import ModelUnavailable, embedding

REFERENCE = json.loads((Path(__file__).parent / "minilm_reference.json").read_text())


def reference_vectors() -> embedding.Floats:
    return np.stack([np.frombuffer(base64.b64decode(raw), "<f4") for raw in REFERENCE["vectors"]])


def test_it_gives_the_vectors_of_sentence_transformers() -> None:
    """Code, emoji, scripts, accents, NUL and texts longer than the window; together in one call."""
    cosines = (embedding.model().embed(REFERENCE["texts"]).vectors * reference_vectors()).sum(axis=1)
    assert cosines.min() > 0.999999


def test_a_text_has_the_same_vector_alone_and_among_others() -> None:
    texts = REFERENCE["texts"]
    together = embedding.model().embed(texts).vectors
    alone = np.vstack([embedding.model().embed([text]).vectors for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_many_texts_come_back_in_order_and_with_length_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, so that sorting by length and cutting into batches must be undone."""
    monkeypatch.setattr(embedding, "BATCH_TOKENS", 64)
    vectors = embedding.model().embed(REFERENCE["texts"]).vectors
    assert (vectors * reference_vectors()).sum(axis=1).min() > 0.999999
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_tokens_are_counted_with_the_two_special_ones_and_cut_at_the_window() -> None:
    assert embedding.model().embed(["hello"]).tokens == 3
    assert embedding.model().embed(["word " * 5000]).tokens == embedding.MAX_TOKENS


def test_no_texts_give_no_vectors() -> None:
    assert embedding.model().embed([]).vectors.shape == (0, 384)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    for name in embedding.DIGESTS:
        shutil.copy(embedding.folder() / name, tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    with pytest.raises(ModelUnavailable, match="not the published file"):
        embedding.MiniLM(tmp_path)


def test_missing_weights_are_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "PACKAGE", "no_such_package_here")
    with pytest.raises(ModelUnavailable, match=r"requirements/model\.txt"):
        embedding.folder()


def test_the_package_that_imports_torch_is_never_imported() -> None:
    embedding.model()
    assert embedding.PACKAGE not in sys.modules
