"""Every option once (`options`), reading and checking a config (`load`), schema and docs."""
