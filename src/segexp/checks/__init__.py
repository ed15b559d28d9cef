"""Is this data set what its owner thinks it is? Findings in words, each with what to type."""

from segexp.checks.issues import CaseFacts, Examination, Finding
from segexp.checks.run import cheap, examine
from segexp.checks.scan import digest, picture_digest

__all__ = ["CaseFacts", "Examination", "Finding", "cheap", "digest", "examine", "picture_digest"]
