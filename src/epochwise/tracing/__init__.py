"""A framework's training step -> :class:`~epochwise.tracing.trace.Trace`: its operations, in the framework's own terms."""
