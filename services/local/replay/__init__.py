"""Public data sets turned into the traffic that a hospital would send, in event time."""
