"""Knowledge distillation (`distill=kd`): a trained network beside the one that is trained."""
