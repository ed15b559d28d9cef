"""Where the pictures of a data set are: filename patterns to cases, and common layouts recognised."""
