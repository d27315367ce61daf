"""What the corpus drags in, and what it must not."""

import subprocess
import sys


def imported_by(module: str) -> set[str]:
    """Top-level names of everything that importing a module loads."""
    script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


def test_serving_needs_no_splitter_and_no_parser() -> None:
    """Search loads neither langchain nor a document parser."""
    assert not imported_by("registry.corpus.search") & {
        "langchain_core",
        "langchain_text_splitters",
        "pypdf",
        "selectolax",
        "langsmith",
    }


def test_the_reader_of_files_is_small() -> None:
    """The worker that reads hostile files loads no client, no database and no model."""
    loaded = imported_by("registry.corpus.loaders.worker")
    assert not loaded & {"qdrant_client", "sqlalchemy", "onnxruntime", "httpx", "numpy", "langchain_core"}
