"""What calls give, remembered."""
