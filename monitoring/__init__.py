"""Watches what was recorded; never sees a request.

* provider_health, burn_rate: how providers kept their objectives, and when to alarm
"""
