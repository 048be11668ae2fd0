"""What a traced step raises -> errors that say where and what to do."""
