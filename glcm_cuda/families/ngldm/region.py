"""Dependences of a whole region, counted as in the family ``gldm``."""

from glcm_cuda.families.gldm.region import values as values
