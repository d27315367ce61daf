"""Watches what was recorded; never sees a request.

* provider_health, burn_rate: how providers kept their objectives, and when to alarm
* prompt_performance: how each prompt version does in use
* intervals: shares, means and quantiles with their uncertainty, out of sums
"""
