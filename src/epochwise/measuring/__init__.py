"""Real epochs -> :class:`~epochwise.measuring.measurement.Measurement`: wall times, and where they went."""
