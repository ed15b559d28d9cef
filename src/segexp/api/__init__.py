"""What every command does, as functions of Python."""
