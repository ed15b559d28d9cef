"""Out of the framework: a network as a file that runs elsewhere, what one must know to use it, and proof that it is right."""
