"""The way to the models: the port to Triton, the checks of its answers, the circuit that opens when it is away.

Encoding and scoring both ask through here, so it stands before them in the flow.
"""
