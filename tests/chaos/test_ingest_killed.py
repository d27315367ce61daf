"""`assay ingest`, killed at any moment, is put right by running it again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures_engine import ENGINE_KEY, EngineProcess
from qdrant_client import QdrantClient, models

from registry.corpus.documents import DocumentRecords
from registry.database import Database
from registry.tenants import Tenants

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

DOCUMENTS = 12


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Documents of several passages each."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(DOCUMENTS):
        text = "\n\n".join(f"In town {number}, street {n}, {n * 7} boxes came late. " * 8 for n in range(6))
        (docs / f"{number:02}.md").write_text(f"# Town {number}\n\n{text}\n")
    return docs


def start_ingest(engine: EngineProcess, database_url: str, docs: Path) -> subprocess.Popen[bytes]:
    """The command as a person would start it."""
    environment = os.environ | {
        "ASSAY_DATABASE_URL": database_url,
        "QDRANT_URL": engine.url,
        "QDRANT_API_KEY": ENGINE_KEY,
    }
    command = [sys.executable, "-m", "flows.cli.main", "ingest", str(docs), "--tenant", "acme", "--json"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def wait_for_documents(records: DocumentRecords, wanted: int, process: subprocess.Popen[bytes]) -> None:
    """Until the ingest has begun this many documents."""
    deadline = time.monotonic() + 120
    while len(records.all()) < wanted:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)


def test_a_killed_ingest_is_finished_by_the_next(
    own_engine: EngineProcess, database: Database, database_url: str, docs: Path
) -> None:
    """After kill -9 on the way, one whole run leaves every passage once and no record incomplete."""
    own_engine.start()
    Tenants(database).create("acme", "Acme")
    records = DocumentRecords(database, "acme")
    process = start_ingest(own_engine, database_url, docs)
    wait_for_documents(records, DOCUMENTS // 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    out, _ = start_ingest(own_engine, database_url, docs).communicate(timeout=200)
    report = json.loads(out)
    found = records.all()
    assert report["failed"] == []
    assert report["added"] + report["updated"] + report["unchanged"] == DOCUMENTS
    assert all(record.complete for record in found.values())
    with_key = QdrantClient(url=own_engine.url, api_key=ENGINE_KEY, check_compatibility=False)
    for name, record in found.items():
        same = models.FieldCondition(key="document", match=models.MatchValue(value=name))
        stored = with_key.count("assay", count_filter=models.Filter(must=[same])).count
        assert stored == record.chunks > 1
    with_key.close()
