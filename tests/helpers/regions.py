"""DICOM segmentations and structure sets of a small series."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from helpers.dicom import OBLIQUE, normal

FRAME = "1.2.99"
_BLANK = ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName")
ABOUT = {
    "FrameOfReferenceUID": FRAME,
    "SliceThickness": 2.5,
    **dict.fromkeys((*_BLANK, "PatientName", "PatientBirthDate", "PatientSex"), ""),
}
"""What a segmentation takes over from its image."""
ORIGIN = np.array([1.0, 2.0, 3.0])


def headers(folder):
    """Return the slices' headers in the order of their positions; the names go against it."""
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir(), reverse=True)]


def write_segmentation(path, folder, masks, *, kind="BINARY", labels=("Tumour", "Liver"), slices=slice(None)):
    """Write (segments, Z, Y, X) masks of a series as a segmentation with frames for these slices alone."""
    sources = headers(folder)
    sources = [sources[index] for index in np.arange(len(sources))[slices]]
    masks = np.asarray(masks)[:, slices]
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=labels[number - 1],
            segmented_property_category=hd.sr.CodedConcept("49755003", "SCT", "Morphologically Altered"),
            segmented_property_type=hd.sr.CodedConcept("4147007", "SCT", "Mass"),
            algorithm_type="MANUAL",
        )
        for number in range(1, len(masks) + 1)
    ]
    fractional = (
        {"fractional_type": "PROBABILITY", "max_fractional_value": 100} if kind == "FRACTIONAL" else {}
    )
    found = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.moveaxis(masks, 0, -1),
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=7,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **(fractional if kind == "FRACTIONAL" else {}),
    )
    found.save_as(path)
    return path


def two_masks():
    masks = np.zeros((2, 4, 6, 5), np.uint8)
    masks[0, 1, 2:4, 1:3] = masks[0, 2, 3, 4] = 1
    masks[1, 3, 0, 0] = 1
    return masks


def write_structures(path, folder, contours, *, number=3, name="GTV", **changes):
    """Write a structure set with one structure of these contours, each (corners, 3) in mm."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID, dataset.PatientID = "RTSTRUCT", generate_uid(), "nobody"
    structure, drawn = Dataset(), Dataset()
    structure.ROINumber = number
    if name is not None:
        structure.ROIName = name
    structure.ReferencedFrameOfReferenceUID = FRAME
    drawn.ReferencedROINumber = number
    drawn.ContourSequence = Sequence()
    for points in contours:
        contour = Dataset()
        contour.ContourGeometricType = changes.get("kind", "CLOSED_PLANAR")
        contour.NumberOfContourPoints = len(points)
        contour.ContourData = [f"{value:.6f}"[:16] for value in np.ravel(points)]
        drawn.ContourSequence.append(contour)
    dataset.StructureSetROISequence = Sequence([structure])
    dataset.ROIContourSequence = Sequence([drawn])
    reference, study, referenced = Dataset(), Dataset(), Dataset()
    reference.FrameOfReferenceUID = changes.get("frame", FRAME)
    referenced.SeriesInstanceUID = changes.get("series", headers(folder)[0].SeriesInstanceUID)
    study.RTReferencedSeriesSequence = Sequence([referenced])
    reference.RTReferencedStudySequence = Sequence([study])
    dataset.ReferencedFrameOfReferenceSequence = Sequence([reference])
    dataset.save_as(path, enforce_file_format=True)
    return path


def corners(columns, rows, place):
    """Return the corners of a rectangle from voxel indices, in mm."""
    across, down = np.array(OBLIQUE[:3]) * 0.7, np.array(OBLIQUE[3:]) * 0.8
    index = [(columns[0], rows[0]), (columns[1], rows[0]), (columns[1], rows[1]), (columns[0], rows[1])]
    return [ORIGIN + 2.5 * place * normal() + x * across + y * down for x, y in index]
