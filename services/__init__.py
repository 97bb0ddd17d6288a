"""Wardstream: hospital events in, trustworthy risk predictions out.

Read the packages in the order data flows: domain, formats, bus, edge, normalize, assemble, encode,
score, monitor, deliver, local. Nothing imports a later one.
"""

__version__ = "0.1.0"
