"""Weights that are mapped from a file give the same vectors, and never stop a start."""

from pathlib import Path

import numpy as np
import pytest

from registry.embedding import UNPACKED_FILES, load_embedder

TEXTS = ["What was the return rate in 2026?", "", "Retouren im zweiten Quartal " * 60]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the weights lie unpacked."""
    directory = tmp_path_factory.mktemp("weights")
    load_embedder(directory)
    return directory


def test_mapped_weights_give_the_same_vectors(unpacked: Path) -> None:
    """Vectors may be compared with those of a process that loaded the weights whole."""
    plain, mapped = load_embedder(), load_embedder(unpacked)
    assert plain.model_id == mapped.model_id
    np.testing.assert_allclose(plain.embed(TEXTS), mapped.embed(TEXTS), atol=1e-4)


def test_damaged_weights_are_removed_and_not_used(unpacked: Path) -> None:
    """One altered byte is found; the start goes on with the packaged weights."""
    (folder,) = unpacked.iterdir()
    with (folder / UNPACKED_FILES[1]).open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\x01")
    embedder = load_embedder(unpacked)
    assert list(unpacked.iterdir()) == []
    np.testing.assert_allclose(np.linalg.norm(embedder.embed(["x"])), 1, atol=1e-5)


def test_a_directory_that_cannot_be_written_does_not_stop_the_start(tmp_path: Path) -> None:
    """Without room for the unpacked weights they are loaded whole."""
    (tmp_path / "file").write_text("")
    assert load_embedder(tmp_path / "file" / "below").embed(["x"]).shape == (1, 384)
