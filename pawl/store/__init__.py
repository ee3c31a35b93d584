"""A run is a folder: writing it (`run`), reading it (`read`), comparing two (`compare`)."""
