"""For authors: a lesson script becomes notebooks and keys; checks are proved."""
