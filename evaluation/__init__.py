"""Measures prompts and retrieval: runs, metrics, statistics, gates. No network of its own.

* run, journal: questions to a target, answers kept
* answer_checks, relevance, retrieval_metrics, score_files: what one answer or ranking scores
* statistics, summary, plots: means with intervals, tables, one picture
* gates, rare_moves, verdict: may a version replace the one in production
* comparison, two_arms, experiment_plots: two arms of an experiment, looked at whenever one likes; how they went
* data: the sample documents, questions and prompts
"""
