"""Rules about the machine: errors, time, memory, resumes.

Codes D95x.
"""
