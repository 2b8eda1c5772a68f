"""Who the patient was is in nothing that is written, save in a Parametric Map, which must say it."""

from __future__ import annotations

import gzip
import os

import h5py
import pydicom
import pytest
from helpers.commands import radsynth
from helpers.dicom import write_series

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

PLANTED = {
    "PatientName": "Plantedsurname^Plantedgiven",
    "PatientID": "PLANTEDID77",
    "PatientBirthDate": "19010203",
    "OtherPatientIDs": "PLANTEDOTHER",
    "PatientAddress": "Planted Street 9",
    "AccessionNumber": "PLANTEDACC",
    "ReferringPhysicianName": "Plantedphysician",
    "OperatorsName": "Plantedoperator",
    "InstitutionName": "Plantedhospital",
    "StudyDate": "19020304",
    "StudyTime": "031415",
    "StudyID": "PLANTEDSTUDY",
    "StationName": "PLANTEDSTATION",
    "PatientComments": "Planted comment",
}
WORDS = [*PLANTED.values(), "Plantedsurname", "Plantedgiven"]


def run(*arguments):
    result = radsynth(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout + result.stderr


def texts_of(path):
    """Return what a file holds, unpacked: its bytes, and everything in an HDF5 file."""
    content = path.read_bytes()
    found = [path.name.encode(), gzip.decompress(content) if path.suffix == ".gz" else content]
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            found += [str(dict(file.attrs)).encode()]
            file.visititems(lambda name, item: found.extend(texts_in(name, item)))
    return found


def texts_in(name, item):
    """Return name, attributes and values of a data set or group of an HDF5 file."""
    values = [str(item[()]).encode(), item[()].tobytes()] if isinstance(item, h5py.Dataset) else []
    return [f"{name} {dict(item.attrs)}".encode(), *values]


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    import numpy as np

    folder = tmp_path_factory.mktemp("in") / "series"
    about = {"FrameOfReferenceUID": "1.2.99", "PatientSex": "F", "SliceThickness": 2.5}
    write_series(folder, np.random.default_rng(1), **PLANTED, **about)
    return folder


def test_nothing_that_is_written_or_said_names_the_patient(series, tmp_path):
    from glcm_cuda import GLCMSettings
    from surrogate import NetworkSettings, build_model

    settings = ("--levels", 8, "--window", 3, "--backend", "cpu")
    said = run("inspect", series)
    said += run("map", series, "-o", tmp_path / "m.nii.gz", "--preview", tmp_path / "m.png", *settings)
    said += run("map", series, "-o", tmp_path / "m.nrrd", *settings)
    said += run("map", series, "-o", tmp_path / "m.mha", *settings)
    said += run("roi", series, "--mask", tmp_path / "m.nrrd", "-o", tmp_path / "r.csv", "--levels", 8)
    said += run("cohort", "scan", series.parent, "-o", tmp_path / "c.csv")
    said += run("cohort", "standard", tmp_path / "c.csv", "-o", tmp_path / "standard.json")
    said += run(
        "groundtruth", tmp_path / "c.csv", "-o", tmp_path / "s.h5", "--samples-per-case", 20,
        "--maps", tmp_path / "maps", *settings,
    )  # fmt: skip
    model = build_model(GLCMSettings(levels=8, window=3), NetworkSettings(architecture="analytic"))
    model.save(tmp_path / "m.keras")
    said += run("synthesize", series, "-o", tmp_path / "synthetic.nii.gz", "--model", tmp_path / "m.keras")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 12
    for word in WORDS:
        assert word not in said
        for path in written:
            assert not any(word.encode() in text for text in texts_of(path)), (word, path.name)


def test_ids_are_kept_if_asked_for(series, tmp_path):
    run("cohort", "scan", series.parent, "-o", tmp_path / "c.csv", "--keep-ids")
    assert "PLANTEDID77" in (tmp_path / "c.csv").read_text()


def test_a_parametric_map_keeps_the_identity_it_must_have(series, tmp_path):
    said = run("map", series, "-o", tmp_path / "m.dcm", "--levels", 8, "--window", 3, "--backend", "cpu")
    assert not any(word in said for word in WORDS)
    made = pydicom.dcmread(tmp_path / "m.dcm")
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate"):
        assert str(made[keyword].value) == PLANTED[keyword]
    for keyword in ("PatientAddress", "OperatorsName", "InstitutionName", "PatientComments"):
        assert keyword not in made
    assert "PLANTED" not in made.ImageComments
