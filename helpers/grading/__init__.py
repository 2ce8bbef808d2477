"""For teachers: grade a class."""
