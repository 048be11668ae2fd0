"""The user's own training loop, looked at from inside: a Keras callback, and a line per step for other loops."""
