"""Answers questions over HTTP: every answer is cited, priced and sealed.

Start at `insights.answer`, which reads like a table of contents of one call. Imports neither mlflow nor prefect.
"""
