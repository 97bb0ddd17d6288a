"""HL7 v2: reading, routing, acknowledging and building messages.

`read` is the mapping to clinical events; `control.routing` what the edge needs; `ack.acknowledge` the answer;
`render` the messages that we send; `files.messages` takes files and batches apart.
"""

from services.formats.hl7v2.reader import FORMAT, read

__all__ = ["FORMAT", "read"]
