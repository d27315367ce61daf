"""Prompts: written as YAML or in MLflow, promoted on evidence, served by version.

* schema: the template record and its content hash
* rendering: template and data into messages
* lint: what is wrong with a template before anyone runs it
* stored, publishing: how MLflow keeps a version; push, list, alias
* gate, gatekeeper, gate_actor: inside the MLflow server, what may change there and who asks (they alone import mlflow)
* authorship: who wrote which content, noted by the gate
* mlflow_rest, versions, promoted: reading versions over plain REST
* kept_templates: proven texts on disk by content hash, for the days without MLflow
* policy, evidence, case, decision: what a use case asks for, what was shown, and whether that is enough
* evaluations: which evaluations a decision hears
* approvals, waivers: people's words about a content
* promotion, promotion_records, revocation: what lets a content serve, written and ended
* standing: whether a content serves, or a rollback may bring it back
* alias_move: an alias in MLflow together with its record
* experiment_design, experiments, experiment_lifecycle: versions side by side, each with a record of its own
* assignment, experiment_outcomes: which unit gets which arm, and what came of it
* candidates, verdicts: which version waits for its evaluation; what came of it, shown on its page in MLflow
* webhooks: MLflow's signed pushes
"""
