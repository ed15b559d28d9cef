"""File patterns, pairing of images and masks, layout discovery."""
