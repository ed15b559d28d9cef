"""Data set checks: findings in words, each with what to type."""

from segexp.checks.issues import CaseFacts, Examination, Finding
from segexp.checks.run import run_checks, split_checks
from segexp.checks.scan import digest, image_digest

__all__ = ["CaseFacts", "Examination", "Finding", "digest", "image_digest", "run_checks", "split_checks"]
