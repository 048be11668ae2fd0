"""What makes a program that trains with the engine begin sooner, one file per framework."""
