"""`risk_fusion`: the network, the trees beside it, their blend and calibration, and the export to ONNX."""
