"""Prompts: written as YAML or in MLflow, promoted on evidence, served by version.

* schema: the template record and its content hash
* rendering: template and data into messages
* lint: what is wrong with a template before anyone runs it
* stored, mlflow: how MLflow keeps a version; push, list, alias (the only module here that imports mlflow)
* mlflow_rest, versions, promoted: reading versions over plain REST; last good on disk
* policy, promotion: what a use case asks for before an alias moves, and the record of it
* candidates, verdicts: which version waits for its evaluation; what came of it, shown on its page in MLflow
* webhooks: MLflow's signed pushes
"""
