"""What this computer can do at best: peak FLOP/s and bandwidth, measured, kept per machine and re-used."""
