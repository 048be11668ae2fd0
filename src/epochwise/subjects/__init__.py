"""What is studied: finding models (MODEL strings) and data, and the two models of the question."""
