"""What a browser shows of runs: the one-file report. Never torch."""
