"""Algorithm maths: pure functions on tensors, no I/O, no config objects."""
