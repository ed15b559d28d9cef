"""Data set checks: findings in words, each with what to type."""
