"""Assemble: one record per patient from clinical events, with merges moved from partition to partition."""
