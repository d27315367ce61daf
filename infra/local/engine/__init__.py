"""A vector engine for one machine: Qdrant's engine (edge edition) behind a thin REST adapter.

`python -m infra.local.engine` starts it; the unmodified `QdrantClient(url=…, api_key=…)` talks to it.

* __main__     the process: settings, one owner per data directory, uvicorn
* settings     its environment, read once
* app          the FastAPI application: gate, routes, one shape for errors
* access       the gate before every route: Host, api key, size of the body
* routes       one function a call of Qdrant's REST API
* bodies       what a request may hold: collections, indexes, points
* filters      conditions, checked against the payload indexes, and their engine form
* queries      searches with prefetch and fusion, and their engine form
* answers      engine objects as JSON
* shards       our configuration as a shard of the engine, and back
* collection   one collection: its shard on disk and every call on it
* catalog      all collections of a data directory
* maintenance  flush and optimise while nobody waits; `optimize` is the child process that does the work
* problems     every error, with its HTTP status
"""
