"""Measures prompts and retrieval: runs, metrics, statistics, gates. No network of its own."""
