"""Watches what was recorded; never sees a request."""
