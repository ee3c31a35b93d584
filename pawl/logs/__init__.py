"""Logs of other libraries, and of Pawl, as canonical series."""
