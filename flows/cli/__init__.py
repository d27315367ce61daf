"""The `assay` command: one module a noun, imports inside the commands so that `assay --help` is quick.

* main: registers everything; the one place where errors become exit codes
* console: tables and lines for people, JSON for machines
* lifecycle: up, down, status, doctor, serve
* ask, ingest, tenants, keys, prompts, evaluate, datasets
"""
