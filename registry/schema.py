"""Every table of the registry, in portable SQL: the same on SQLite and PostgreSQL.

Times are integers, milliseconds since the epoch in UTC, and end in `_ms`. Money is an integer count of nano-USD.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

REVISION = "0002"
"""The newest migration in registry/migrations; all together make exactly these tables."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, ForeignKey("tenants.id"), nullable=True, index=True),  # null: a platform key
    Column("role", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=True),
    Column("revoked_ms", BigInteger, nullable=True),
)

vault_keys = Table(
    "vault_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("subject_hash", Text, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=True),  # null: destroyed, the content is gone for good
    Column("created_ms", BigInteger, nullable=False),
    Column("destroyed_ms", BigInteger, nullable=True),
)
Index(  # one living key for each subject
    "uq_vault_keys_living",
    vault_keys.c.tenant,
    vault_keys.c.subject_hash,
    unique=True,
    sqlite_where=vault_keys.c.destroyed_ms.is_(None),
    postgresql_where=vault_keys.c.destroyed_ms.is_(None),
)

vault_items = Table(
    "vault_items",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key", Text, ForeignKey("vault_keys.id"), nullable=False, index=True),
    Column("tenant", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

insights = Table(
    "insights",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("use_case", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("billed_to", Text, nullable=False),
    Column("prompt_name", Text, nullable=False),
    Column("prompt_version", Integer, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Column("vault_item", Text, ForeignKey("vault_items.id"), nullable=False),
    Column("audit_log", Text, nullable=False),
    Column("audit_index", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("experiment", Text, nullable=True),  # null: no experiment, or the caller was not in it
    Column("arm", Text, nullable=True),
    Column("unit", Text, nullable=True),  # keyed hash of the subject, else of the session; null: neither was told
    Column("latency_ms", Integer, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("claims_grounded", Integer, nullable=False),
    Column("abstained", Boolean, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),  # all buckets of the prompt
    Column("output_tokens", BigInteger, nullable=False),
    Index("ix_insights_tenant_time", "tenant", "created_ms"),
    Index("ix_insights_prompt_time", "prompt_name", "created_ms"),
    Index("ix_insights_experiment_time", "experiment", "created_ms"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", Text, primary_key=True),
    Column("insight", Text, ForeignKey("insights.id"), nullable=False, unique=True),  # the newest word counts
    Column("tenant", Text, nullable=False),
    Column("rating", Integer, nullable=True),  # null: not said
    Column("accepted", Boolean, nullable=True),
    Column("first_rating", Integer, nullable=True),  # for experiments: a value that was looked at never changes
    Column("first_accepted", Boolean, nullable=True),
    Column("rated_ms", BigInteger, nullable=True),  # when `rating` was first told; null: never
    Column("accepted_ms", BigInteger, nullable=True),  # when `accepted` was first told; null: never
    Column("vault_item", Text, ForeignKey("vault_items.id"), nullable=True),  # the comment; null: none
    Column("created_ms", BigInteger, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("body_sha256", Text, nullable=False),
    Column("insight", Text, nullable=True),  # null: the first call is still running
    Column("created_ms", BigInteger, nullable=False, index=True),
)

documents = Table(
    "documents",
    metadata,
    Column("tenant", Text, ForeignKey("tenants.id"), primary_key=True),
    Column("document", Text, primary_key=True),
    Column("root", Text, nullable=False),  # the path given at ingest: what vanished is decided within it
    Column("sha256", Text, nullable=False),
    Column("splitter", Text, nullable=False),
    Column("embedding_model", Text, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("complete", Boolean, nullable=False),  # false: ingest was stopped half-way; do it again
    Column("ingested_ms", BigInteger, nullable=False),
)

signals = Table(
    "signals",
    metadata,
    Column("name", Text, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("bumped_ms", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("received_ms", BigInteger, nullable=False),
)

prompt_hashes = Table(
    "prompt_hashes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("content_hash", Text, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("author", Text, nullable=True),  # null: nobody knows who wrote it
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("prompt_name", Text, nullable=False),
    Column("prompt_version", Integer, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("details", Text, nullable=False),  # JSON
    Column("run_id", Text, nullable=True),
    Column("dataset", Text, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_evidence_content", "prompt_name", "content_hash"),
)

promotions = Table(
    "promotions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("prompt_name", Text, nullable=False),
    Column("prompt_version", Integer, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("use_case", Text, nullable=False),
    Column("alias", Text, nullable=False),  # what it may serve as: an alias, or `experiment:ID` for an arm
    Column("models", Text, nullable=False),  # JSON list of [provider, model] that may answer with it
    Column("basis", Text, nullable=False),  # evidence, waiver or record
    Column("promoted_by", Text, nullable=False),
    Column("evidence", Text, nullable=False),  # JSON list of evidence ids
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=True),  # null: no end
    Column("revoked_ms", BigInteger, nullable=True),
    Index("ix_promotions_place", "prompt_name", "alias", "created_ms"),
)

serving_models = Table(  # the chain of those who serve, as they said at their last start
    "serving_models",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("told_ms", BigInteger, nullable=False),
)

candidates = Table(  # the newest candidate of each prompt whose evaluation was asked for
    "candidates",
    metadata,
    Column("prompt_name", Text, primary_key=True),
    Column("prompt_version", Integer, nullable=False),
    Column("announced_ms", BigInteger, nullable=False),
)

experiments = Table(
    "experiments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("prompt_name", Text, nullable=False),
    Column("use_case", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("design", Text, nullable=False),  # JSON: arms, weights, metrics, ramp, exclusions
    Column("decision", Text, nullable=True),  # JSON: how it ended; null while it runs
    Column("created_by", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger, nullable=True),
)
Index(  # one running experiment for each prompt
    "uq_experiments_running",
    experiments.c.prompt_name,
    unique=True,
    sqlite_where=experiments.c.status == "running",
    postgresql_where=experiments.c.status == "running",
)

provider_attempts = Table(
    "provider_attempts",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),  # as configured, not as the vendor names the one that answered
    Column("period_ms", BigInteger, primary_key=True),  # start of the minute; after some days, of the hour
    Column("outcome", Text, primary_key=True),
    Column("streamed", Boolean, primary_key=True),
    Column("bucket", Integer, primary_key=True),  # how long it took: see registry/rollups.py
    Column("attempts", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Index("ix_provider_attempts_period", "period_ms"),
)

alarms = Table(
    "alarms",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("details", Text, nullable=False),  # JSON
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger, nullable=True),  # null: open
)
Index(  # one open alarm for each thing
    "uq_alarms_open",
    alarms.c.kind,
    alarms.c.subject,
    alarms.c.severity,
    unique=True,
    sqlite_where=alarms.c.closed_ms.is_(None),
    postgresql_where=alarms.c.closed_ms.is_(None),
)
