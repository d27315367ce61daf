"""The `assay` command: one module a noun, imports inside the commands so that `assay --help` is quick.

* main: registers everything; the one place where errors become exit codes
* console: tables and lines for people, JSON for machines
* lifecycle: up, down, status, doctor, serve
* platform_checks: what `status` and `doctor` ask the API, the alarms and the evidence
* ask, ingest, tenants, keys, prompts, experiments, providers, evaluate, datasets
* experiment_options, experiment_plan, experiment_actions: what `experiments` reads in, plans, and changes or shows
* prompt_actions, prompt_queries, prompt_standing, prompt_output: what `prompts` changes, reads, judges and prints
* options: what options of several commands have in common
"""
