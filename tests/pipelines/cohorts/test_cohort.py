"""Reading the list of a cohort, and refusing what is wrong with it."""

from __future__ import annotations

import pytest

from pipelines.cohorts.cohort import Case, read_cohort
from pipelines.cohorts.tissues import tissues_of, tissues_text

HEADER = "patient,group,image,labels\n"


@pytest.fixture
def cohort(tmp_path):
    """Write a cohort's CSV beside two images and one file of labels."""
    for name in ("a.nii", "b.nii", "a_labels.nii"):
        (tmp_path / name).touch()

    def write(text, encoding="utf-8"):
        path = tmp_path / "cohort.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_cases_in_order_with_absolute_paths(cohort, tmp_path, monkeypatch):
    path = cohort(HEADER + "P1,benign,a.nii,a_labels.nii\nP2,normal,b.nii,\n")
    monkeypatch.chdir(tmp_path.parent)
    assert read_cohort(path.relative_to(tmp_path.parent)) == [
        Case("P1", "benign", tmp_path / "a.nii", tmp_path / "a_labels.nii"),
        Case("P2", "normal", tmp_path / "b.nii", None),
    ]


def test_spreadsheet_habits_are_read(cohort, tmp_path):
    path = cohort(
        'age,labels,image,group,patient\r\n61, ,"a.nii", Läsion , P 1 \r\n\r\n', encoding="utf-8-sig"
    )
    assert read_cohort(path) == [Case("P 1", "Läsion", tmp_path / "a.nii", None)]


def test_tissues_have_the_names_of_their_column(cohort):
    header = "patient,group,image,labels,tissues\n"
    path = cohort(f"{header}P1,g,a.nii,a_labels.nii,1=fat ; 12 = grey matter;\nP2,g,b.nii,,\n")
    assert [case.tissues for case in read_cohort(path)] == [{1: "fat", 12: "grey matter"}, {}]
    assert tissues_of(tissues_text({3: "a", 1: "b"})) == {3: "a", 1: "b"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fat", "line 2: tissues must be names of labels from 1 to 255, as 1=fatty;2=glandular, got 'fat'"),
        ("0=air", "labels from 1 to 255.*got '0=air'"),
        ("256=fat", "labels from 1 to 255.*got '256=fat'"),
        ("1=", "labels from 1 to 255.*got '1='"),
        ("1=fat;1=water", "a name of its own, .*got '1=fat;1=water'"),
        ("1=fat;2=Fat", "a name of its own, .*got '1=fat;2=Fat'"),
        ("1=All", "a name of its own, other than all, background and label N"),
        ("1=label 2", "a name of its own, other than all, background and label N"),
        ("1=../fat", "names that can be part of a file's name, got '../fat'"),
    ],
)
def test_bad_names_of_tissues(cohort, text, words):
    with pytest.raises(ValueError, match=words):
        read_cohort(cohort(f"patient,group,image,labels,tissues\nP1,g,a.nii,,{text}\n"))


def test_a_folder_is_an_image(cohort, tmp_path):
    (tmp_path / "series").mkdir()
    assert read_cohort(cohort(HEADER + "P1,g,series,\n"))[0].image == tmp_path / "series"


def test_missing_cohort(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; give a CSV with the columns patient, group"):
        read_cohort(tmp_path / "none.csv")


def test_a_folder_is_no_cohort(tmp_path):
    with pytest.raises(IsADirectoryError, match="COHORT must be a CSV file, got a folder"):
        read_cohort(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks the columns patient, group, image, labels.*got an empty file"),
        (HEADER, "at least one case, got none"),
        ("patient,image\nP1,a.nii\n", "lacks the columns group, labels; expected .*, got patient,image"),
        ("patient;group;image;labels\nP1;g;a.nii;\n", "separated by commas, got patient;group"),
        (HEADER + "P1,g,a.nii,\nP2,g,b.nii,\nP1,g,b.nii,\n", "each patient once, got P1 twice"),
        (
            HEADER + "P1,g,a.nii,\nP2,g,c.nii,\n",
            r"line 3: image does not exist: .*/c\.nii; paths are relative",
        ),
        (HEADER + "P1,g,a.nii,none.nii\n", r"line 2: labels does not exist: .*/none\.nii"),
        (HEADER + ",g,a.nii,\n", "line 2: patient must not be empty"),
        (HEADER + "P1,,a.nii,\n", "line 2: group must not be empty"),
        (HEADER + "P1,g\n", "line 2: image must not be empty"),
        (
            HEADER + "P1,g,a.nii,a_labels.nii,more,values\n",
            "line 2: expected 4 values, got 6; put quotes around values with",
        ),
        (HEADER + "P1,g,a.nii,\np1,g,b.nii,\n", "differ in more than case, got P1 and p1.*rename one"),
        (HEADER + "../P1,g,a.nii,\n", "usable as a file name, got '../P1'"),
        (HEADER + ".P1,g,a.nii,\n", "usable as a file name, got '.P1'"),
    ],
)
def test_unfit_cohort(cohort, text, words):
    with pytest.raises(ValueError, match=words):
        read_cohort(cohort(text))


def test_other_encoding(cohort):
    with pytest.raises(
        ValueError, match="must be a CSV file in UTF-8, got a file that cannot be read as one"
    ):
        read_cohort(cohort(HEADER + "P1,Läsion,a.nii,\n", encoding="latin-1"))


@pytest.mark.parametrize("value", ["true", "True", "yes", "1", "false", "FALSE", "no", "0"])
def test_the_column_tells_a_phantom_whatever_the_name(cohort, value):
    path = cohort(f"phantom,{HEADER}{value},phantom_x,g,a.nii,\n{value},P1,g,b.nii,\n")
    assert [case.phantom for case in read_cohort(path)] == [value.lower() in ("true", "yes", "1")] * 2


@pytest.mark.parametrize("column", [False, True])
def test_without_a_value_the_name_tells_a_phantom(cohort, column):
    header, end = (HEADER.strip() + ",phantom\n", ",\n") if column else (HEADER, "\n")
    path = cohort(f"{header}phantom-benign-01,g,a.nii,{end}UCSF-BR-06,g,b.nii,{end}")
    assert [case.phantom for case in read_cohort(path)] == [True, False]


def test_another_value_is_refused(cohort):
    with pytest.raises(ValueError, match="line 2: phantom must be empty, true or false, got 'maybe'"):
        read_cohort(cohort(f"{HEADER.strip()},phantom\nP1,g,a.nii,,maybe\n"))
