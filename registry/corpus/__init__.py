"""Tenants' documents as passages that can be found.

* collection - the one collection, its schema, its embedding model; errors of the engine
* filters    - the tenant filter and the declared fields
* bm25       - words to sparse vectors
* search     - hybrid search and reading by id: all that serving needs
* ingest     - files to passages, safe to stop at any moment; splitting and loaders/ stand behind it
"""
