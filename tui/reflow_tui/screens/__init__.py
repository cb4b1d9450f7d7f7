"""What opens on top of the main screen."""
