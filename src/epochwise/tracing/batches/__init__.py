"""What goes into a traced step: shapes and types of a batch, and a model that is built for it."""
