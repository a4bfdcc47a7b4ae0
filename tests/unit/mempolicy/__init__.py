"""What programs import to place memory."""
