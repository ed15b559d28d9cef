"""What happens around the steps: learning rate and budget, checkpoints, pictures, speed."""
