"""Which memory a step's tensors lie in, of frameworks that make and free it one by one."""
