"""Analysis of finished runs: confidence intervals, paired differences, verdicts, label errors and tuning."""
