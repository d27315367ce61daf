"""One module for each group of addresses; thin: read the request, call one service method, return.

* insights: ask for one, look one up
* prompts: what engineers say about a version before it is promoted
* event_stream: an insight while it is written
* health: liveness, readiness, metrics
* webhooks: MLflow's push
* json_body: how strictly a body is read
"""
