"""Monitor: counts, drift, freshness, calibration and discrimination of what the system does, as events and metrics."""
