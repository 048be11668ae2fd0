"""Kernels that a framework's compiler made of several layers."""
