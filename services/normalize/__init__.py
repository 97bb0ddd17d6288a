"""Normalize: raw messages of any format to clinical events, each ending as events, filtered or dead letter."""
