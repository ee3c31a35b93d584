"""The doctor: a log in, a diagnosis out. Reads records only and never imports torch."""
