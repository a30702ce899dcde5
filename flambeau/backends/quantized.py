"""The engine of quantized operators."""

engine = "none"
supported_engines = ["none"]
