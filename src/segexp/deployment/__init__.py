"""Export to ONNX, torch.export, TorchScript and OpenVINO, with metadata, verification and quantisation."""
