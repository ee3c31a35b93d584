"""Text in, Score out: sandbox, one verifier per language, staged reward, pool, cache, audit."""
