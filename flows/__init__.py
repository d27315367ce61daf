"""Composes the rooms: settings, wiring, scheduled flows and the command line. Nobody imports it."""
