"""nbgrader's settings: `solutions/` is its source folder, `notebooks/` its release."""

import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "from-fit-to-gradienttape"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "notebooks"
# Lesson scripts hold the answers: they must never reach a release.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "*.py"]

c.Execute.timeout = 120  # seconds a cell; a check stops an answer after 20
c.Execute.shutdown_kernel = "immediate"
c.Autograde.create_student = True

# A grading run is nobody's progress, and TensorFlow need not greet every kernel.
# JupyterLab reads this file, too, and its kernels are those of learners.
program = Path(sys.argv[0])
if "nbgrader" in (program.stem, program.parent.name):
    os.environ.setdefault("COURSE_PROGRESS", "off")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
