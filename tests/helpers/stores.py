"""Patch stores of made-up cases."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from glcm_cuda import GLCMSettings, quantize
from glcm_cuda.maps import entropy_of_levels
from glcm_cuda.store.layout import CaseRecord, CaseSource
from glcm_cuda.store.patches import Samples, sample_voxels, take_samples
from glcm_cuda.store.writing import StoreWriter

SETTINGS = GLCMSettings(levels=16)
PATIENTS = ("A", "B/ü", "C")
COUNT = 300


def source(patient):
    return CaseSource(patient=patient, group="benign", image=f"{patient[0]}.nii", sha256="0" * 64)


@functools.cache
def case(patient, settings=SETTINGS, count=COUNT):
    """Record and samples of a made-up case: random texture of the patient's own."""
    rng = np.random.default_rng(ord(patient[0]))
    image = rng.normal(size=(2, 20, 24)) * rng.random((2, 1, 24))
    levels = quantize(image, settings)
    voxels = sample_voxels(None, levels.shape, settings.radius, count, rng)
    entropy = entropy_of_levels(levels, settings, backend="cpu")
    samples = take_samples(levels, entropy, None, voxels, settings.radius)
    record = CaseRecord(
        **vars(source(patient)), intensity_range=(-1.5, 2.5), shape=levels.shape, count=len(voxels)
    )
    return record, samples


def writer(path, settings=SETTINGS, **changes):
    return StoreWriter(path, settings, **{"seed": 1, "samples_per_case": COUNT, **changes})


def write(path, patients=PATIENTS, settings=SETTINGS, **changes):
    writing = writer(path, settings, **changes)
    for patient in patients:
        writing.add(*case(patient, settings))
    return writing.finish([source(patient) for patient in patients])


def write_store(path: Path, counts: dict[str, int], glcm: GLCMSettings = SETTINGS) -> Path:
    """Write a store of random patches, half of them smooth, with their exact entropies; rows are numbered."""
    rng = np.random.default_rng(5)
    writing = StoreWriter(path, glcm, seed=0, samples_per_case=max(counts.values()))
    sources, row = [], 0
    for number, (patient, count) in enumerate(counts.items()):
        levels = rng.integers(0, glcm.levels, (count, glcm.window, glcm.window), dtype=np.uint8)
        levels[::2] //= 6
        entropy = entropy_of_levels(levels, glcm, backend="cpu")[:, glcm.radius, glcm.radius]
        rows = np.arange(row, row + count, dtype=np.int32)
        zeros = np.zeros(count, np.int32)
        samples = Samples(levels, entropy, rows, zeros, zeros, zeros.astype(np.uint8))
        made = CaseSource(
            patient=patient,
            group="ab"[number % 2],
            image=f"{patient}.nii",
            sha256=patient,
            phantom=patient.startswith("phantom"),
        )
        record = CaseRecord(**vars(made), intensity_range=(0.0, 1.0), shape=(1, 9, 9), count=count)
        writing.add(record, samples)
        sources.append(made)
        row += count
    return writing.finish(sources)
