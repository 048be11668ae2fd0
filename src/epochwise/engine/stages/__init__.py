"""What each kind of layer plans: its kernels forward, backward and for the update, with their arguments."""
