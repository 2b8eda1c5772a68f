"""Small DICOM series and multi-frame images of known voxels and geometry."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

OBLIQUE = (0.96, 0.28, 0.0, 0.0, 0.0, -1.0)


def write_slice(path, pixels, position, *, series="1.2.3", orientation=OBLIQUE, **attributes):
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = MRImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.SeriesInstanceUID, header.StudyInstanceUID = series, "1.2"
    header.Modality, header.PatientID = "MR", "nobody"
    header.Rows, header.Columns = pixels.shape[-2:]
    header.PixelSpacing = [0.8, 0.7]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 0
    if position is not None:
        header.ImagePositionPatient = list(position)
        header.ImageOrientationPatient = list(orientation)
    for name, value in attributes.items():
        setattr(header, name, value)
    dtype = f"{'i' if header.PixelRepresentation else 'u'}{header.BitsAllocated // 8}"
    header.PixelData = np.ascontiguousarray(pixels, dtype).tobytes()
    header.save_as(path, enforce_file_format=True)


def normal():
    return np.cross(OBLIQUE[:3], OBLIQUE[3:])


def write_series(folder, rng, places=(0.0, 2.5, 5.0, 7.5), **attributes):
    """Write slices at these places (mm along the normal), named against their order."""
    folder.mkdir(exist_ok=True)
    pixels = rng.integers(0, 1000, (len(places), 6, 5))
    for index, place in enumerate(places):
        name = f"{len(places) - index:03d}-{attributes.get('series', '')}"
        position = np.array([1.0, 2.0, 3.0]) + place * normal()
        write_slice(folder / name, pixels[index], position, **attributes)
    return pixels


def without_preamble(path, *, meta):
    """Take away the preamble of a file, and its meta header unless it is to stay."""
    content = path.read_bytes()
    start = 132 if meta else 132 + 12 + int.from_bytes(content[140:144], "little")
    path.write_bytes(content[start:])


def group(position, *, phase=None, slope=None):
    """Return the functional groups of one frame."""
    found = Dataset()
    found.PlanePositionSequence = Sequence([Dataset()])
    found.PlanePositionSequence[0].ImagePositionPatient = [float(number) for number in position]
    if phase is not None:
        found.FrameContentSequence = Sequence([Dataset()])
        found.FrameContentSequence[0].TemporalPositionIndex = phase
    if slope is not None:
        found.PixelValueTransformationSequence = Sequence([Dataset()])
        found.PixelValueTransformationSequence[0].RescaleSlope = slope
        found.PixelValueTransformationSequence[0].RescaleIntercept = -1
    return found


def write_enhanced(path, pixels, groups, orientation=(1, 0, 0, 0, 1, 0)):
    shared = Dataset()
    shared.PlaneOrientationSequence = Sequence([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(orientation)
    shared.PixelMeasuresSequence = Sequence([Dataset()])
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.8, 0.7]
    write_slice(
        path,
        pixels,
        None,
        NumberOfFrames=len(pixels),
        SOPClassUID=EnhancedMRImageStorage,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(groups),
    )
    header = pydicom.dcmread(path)
    del header.PixelSpacing
    header.save_as(path)
    return path
