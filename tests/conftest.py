"""Every test process can run the exercises of every lesson, in any order."""

from helpers import runtime

runtime.split_cpu()  # before any test lets TensorFlow run: lesson 09 needs two CPUs
