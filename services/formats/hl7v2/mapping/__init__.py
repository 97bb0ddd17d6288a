"""From segments to facts: one module per family of segments or messages, joined by `dispatch`."""
