"""Counts + Machine + Measurement -> an explanation: factors, causes, sentences."""
