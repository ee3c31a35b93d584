"""Problem sets: generated starter sets, loading, static audit, filters and splits; no torch."""
