"""Helpers of the course "From fit() to GradientTape".

The learner's part is `checks`, `data`, `plots` and `runtime`; it needs nothing that a
stock Colab runtime lacks. `lessons` is for authors and `grading` for teachers.
"""

__version__ = "0.1.0"
