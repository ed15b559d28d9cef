"""What mask values mean: values and colours to classes."""
