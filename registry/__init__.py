"""The system of record: whatever must be looked up later.

It calls no language model, serves no HTTP and runs no statistics; every other room stands on it.

* errors, messages, insights: the shared types are the records themselves
* database, schema, migrations, settings: where records live
* tenants: tenants, keys, roles
* claims, answer_member, embedding: text into claims and figures, also while it is written; text into vectors
* prompts: schema, MLflow, promoted version, promotion on evidence
* corpus: documents in, passages out
* money: prices in integer nano-USD
* audit: the log and the vault
* feedback: what people say about an insight
* datasets, runs: ground truth by content hash, results as MLflow runs
* rollups, prompt_outcomes, alarms: what happened in sums, and what was found wrong with it
"""
