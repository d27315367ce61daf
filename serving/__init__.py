"""Answers questions over HTTP: every answer is cited, priced and sealed. Imports neither mlflow nor prefect.

Start at `insights.answer`, which reads like a table of contents of one call.

* app, server, services, wiring, settings: the process, its parts and where they are connected
* access, middleware, problems, routes: what happens at the rim of a request
* arms, experiment_alarms: versions side by side while an experiment runs; who is told of one that cannot be read
* active_prompt, background, readiness: promoted versions kept fresh beside the requests
* second_lock, prompt_alarms: which version may serve, by promotion record; who is told when an alias says otherwise
* candidate_announcer, prefect_events: a new candidate is told to Prefect, which has it evaluated
* version_pages: a version's page in MLflow says how it stands after approvals and moves of an alias
* retrieval, budget_gate, asking, answer_text, providers, grounding: the steps of one call
* figure_check, figure_agreement: the figures of a claim; stated_equations, equation_check, equation_values,
  equation_units: those that it works out
* call_log, time_limit, idempotency, spending: its two audit entries, its time, asking twice, and its bill
* provider_history, telemetry, otel: what is told of every attempt at a provider
* metrics, json_logs, request_context: what operators see
"""
