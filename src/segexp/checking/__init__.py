"""Is this data set what its owner thinks it is? Findings in words, each with what to type."""

from segexp.checking.cheap import cheap
from segexp.checking.examine import examine
from segexp.checking.findings import CaseFacts, Examination, Finding
from segexp.checking.survey import digest, picture_digest

__all__ = ["CaseFacts", "Examination", "Finding", "cheap", "digest", "examine", "picture_digest"]
