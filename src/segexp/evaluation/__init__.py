"""Finished runs read back from their directories and put side by side: intervals, paired differences, a verdict in words."""
