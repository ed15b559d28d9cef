"""Training: tasks, runs, callbacks, loggers, distillation, pseudo-labels and automatic batch size and learning rate."""
