"""The module for 3D Slicer: its description, and the script run as Slicer runs it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.snippets import python_of

import radsynth
from glcm_cuda.families.registry import FEATURES

FOLDER = Path(radsynth.__file__).parent / "adapters" / "slicer"
SCRIPT, DESCRIPTION = FOLDER / "TextureMap.py", FOLDER / "TextureMap.xml"
ROOT = Path(__file__).parents[2]

# The schema of command line modules (CTK, ctkCmdLineModule.xsd), as the tags of children in their order.
EXECUTABLE = (
    r"(category )?title description (version )?(documentation-url )?(license )?(contributor )?"
    r"(acknowledgements )?(parameters )+"
)
PARAMETER = r"name (flag (longflag )?|longflag |index )description label (default )?(channel )?"
PLAIN = ("boolean", "string", "directory", "file", "image", "geometry", "point", "region", "string-vector")
CHILDREN = {
    **dict.fromkeys(PLAIN, ""),
    **dict.fromkeys(("integer", "float", "double"), "(constraints )?"),
    **dict.fromkeys(("integer-enumeration", "double-enumeration", "string-enumeration"), "(element )+"),
}
ATTRIBUTES = {"file": {"multiple", "fileExtensions"}, "image": {"multiple", "fileExtensions", "type"}}
IMAGES = {"scalar", "label", "tensor", "diffusion-weighted", "vector", "model"}


def tags(element):
    return "".join(f"{child.tag} " for child in element)


def faults(root) -> list[str]:
    """Return in what a description departs from the schema."""
    found = [] if root.tag == "executable" else [f"root {root.tag}"]
    if not re.fullmatch(EXECUTABLE, tags(root)):
        found.append(f"executable: {tags(root)}")
    for group in root.iter("parameters"):
        label, description, *parameters = group
        if (label.tag, description.tag) != ("label", "description") or not parameters:
            found.append(f"parameters: {tags(group)}")
        found += [fault for one in parameters for fault in _faults_of(one)]
    names = [name.text for name in root.iterfind("parameters/*/name")]
    return found + [f"{name} twice" for name in set(names) if names.count(name) > 1]


def _faults_of(parameter) -> list[str]:
    if parameter.tag not in CHILDREN:
        return [f"no parameter {parameter.tag}"]
    name = parameter.findtext("name") or ""
    checks = {
        f"{name}: {tags(parameter)}": re.fullmatch(PARAMETER + CHILDREN[parameter.tag], tags(parameter)),
        f"{name}: name": re.fullmatch(r"[_a-zA-Z][_a-zA-Z0-9]*", name),
        f"{name}: longflag": re.fullmatch(r"(-?-?[_a-zA-Z]\w*)?", parameter.findtext("longflag") or ""),
        f"{name}: index": re.fullmatch(r"\d*", parameter.findtext("index") or ""),
        f"{name}: channel": (parameter.findtext("channel") or "input") in ("input", "output"),
        f"{name}: {parameter.attrib}": parameter.attrib.keys()
        <= {"hidden"} | ATTRIBUTES.get(parameter.tag, set()),
        f"{name}: type": parameter.tag != "image" or parameter.get("type", "scalar") in IMAGES,
        f"{name}: extensions": re.fullmatch(r"(\.\w+(,\.\w+)*)?", parameter.get("fileExtensions", "")),
    }
    found = [fault for fault, holds in checks.items() if not holds]
    for limits in parameter.iterfind("constraints"):
        values = {limit.tag: float(limit.text or "") for limit in limits}
        if not {"step"} <= values.keys() <= {"minimum", "maximum", "step"}:
            found.append(f"{name}: {tags(limits)}")
    elements = [element.text for element in parameter.iterfind("element")]
    if elements and parameter.findtext("default") not in elements:
        found.append(f"{name}: default")
    return found


@pytest.fixture(scope="module")
def description():
    return ElementTree.parse(DESCRIPTION).getroot()


@pytest.fixture(scope="module")
def script():
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("TextureMap", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_description_follows_the_schema(description):
    assert faults(description) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("<title>Texture Map</title>", "", "executable: category description"),
        ("<longflag>--bin_width</longflag>", "<longflag>--bin-width</longflag>", "binWidth: longflag"),
        ("<index>0</index>", "", "inputVolume: name description label channel"),
        ("<name>levels</name>", "<name>window</name>", "window twice"),
        ("<step>2</step>", "", "window: minimum maximum"),
        ("<default>2</default>", "<default>4</default>", "dimensions: default"),
        ('type="label"', 'type="mask"', "mask: type"),
    ],
)
def test_a_description_that_departs_from_the_schema_is_seen(old, new, fault):
    text = DESCRIPTION.read_text()
    assert text.count(old) == 1
    (found,) = faults(ElementTree.fromstring(text.replace(old, new).encode()))
    assert found.startswith(fault)


def test_the_description_offers_what_the_script_takes(description, script):
    parameters = {
        one.findtext("longflag") or one.findtext("index"): one
        for one in description.iterfind("parameters/*[name]")
    }
    actions = [action for action in script.parser()._actions if action.dest != "help"]
    flags = [
        action.option_strings[0] if action.option_strings else str(place)
        for place, action in enumerate(actions)
    ]
    assert set(flags) == parameters.keys()
    for flag, action in zip(flags, actions, strict=True):
        default = parameters[flag].findtext("default")
        assert action.default == ((action.type or str)(default) if default is not None else None)
    elements = [element.text for element in parameters["--feature"].iterfind("element")]
    assert elements == [feature.full_name for feature in FEATURES]


def test_the_call_in_the_documentation_names_what_is_offered(description):
    (block,) = python_of("docs/slicer.md")
    called_with = {}
    node = SimpleNamespace(GetID=lambda: "vtkMRMLScalarVolumeNode1")
    slicer = SimpleNamespace(
        cli=SimpleNamespace(runSync=lambda module, parameters: called_with.update({module: parameters})),
        modules=SimpleNamespace(texturemap=DESCRIPTION.stem.lower()),
    )
    exec(compile(block, "docs/slicer.md", "exec"), {"volume": node, "output": node, "slicer": slicer})
    names = {name.text for name in description.iterfind("parameters/*/name")}
    assert called_with["texturemap"].keys() <= names


def test_slicer_takes_it_for_a_command_line_module():
    assert SCRIPT.read_text().startswith("#!")  # otherwise for a scripted one
    assert {path.name for path in FOLDER.iterdir()} - {"__pycache__"} == {SCRIPT.name, DESCRIPTION.name}


@pytest.fixture
def volumes(rng, tmp_path):
    """Write a volume and a label map as NRRD, as Slicer does; return their paths."""
    labels = np.zeros((4, 9, 8), np.uint8)
    labels[1:3, 2:8, 1:7] = 1
    labels[1:3, 2:4, 1:7] = 2
    for name, array in (("image", rng.integers(0, 200, labels.shape).astype(np.int16)), ("labels", labels)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.9, 0.9, 3.0))
        image.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix())
        sitk.WriteImage(image, str(tmp_path / f"{name}.nrrd"))
    return tmp_path / "image.nrrd", tmp_path / "labels.nrrd"


def called(*arguments, executable=sys.executable, **variables):
    """Run the script as Slicer does, with the Python of the tests in place of ``radsynth``."""
    command = [sys.executable, "-I", SCRIPT, *arguments, "--executable", executable]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_the_module_maps_volumes(volumes, tmp_path):
    image, labels = volumes
    output = tmp_path / "output" / "vtkMRMLScalarVolumeNodeB.nrrd"
    output.parent.mkdir()
    options = (
        "--mask",
        labels,
        "--mask_label",
        2,
        "--feature",
        "glcm_Contrast",
        "--levels",
        16,
        "--window",
        3,
    )
    done = called(
        *options, "--dimensions", 3, "--filter", "", "--bin_width", 0, "--outside", -1, image, output
    )
    assert (done.returncode, done.stderr) == (0, "")
    progress = [float(value) for value in re.findall(r"<filter-progress>(.+)</filter-progress>", done.stdout)]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert done.stdout.startswith("<filter-start>")
    made = sitk.ReadImage(str(output))
    wanted = radsynth.map(
        image, "contrast", mask=labels, label=2, levels=16, window=3, dimensions=3, outside=-1
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(wanted))
    np.testing.assert_allclose(made.GetSpacing(), wanted.GetSpacing())
    np.testing.assert_allclose(made.GetDirection(), wanted.GetDirection())
    assert [path.name for path in output.parent.iterdir()] == [output.name]


@pytest.mark.slow
def test_bad_input_is_told_in_one_line(volumes, tmp_path):
    image, labels = volumes
    output = tmp_path / "map.nrrd"
    params = tmp_path / "Params.yaml"
    params.write_text("imageType: {Original: {}, Square: {}}\n")
    cases = [
        ((image, output, "--window", 4), "window must be odd, got 4"),
        ((tmp_path / "none.nrrd", output), "image .*none.nrrd does not exist"),
        ((image, output, "--params", params), "--params needs --mask FILE"),
        (
            (image, output, "--params", params, "--mask", labels),
            "one map is needed, got map_original_glcm_JointEntropy.nrrd, map_square_.*; give a filter",
        ),
    ]
    for arguments, words in cases:
        done = called(*arguments)
        assert done.returncode != 0
        assert re.search(words, done.stderr)
        assert done.stderr.count("\n") == 1
        assert not output.exists()


def test_a_missing_installation_says_where_to_name_it(volumes, tmp_path):
    done = called(volumes[0], tmp_path / "map.nrrd", executable="no-radsynth")
    assert done.returncode == 1
    assert "no program 'no-radsynth'; set 'RadSynth' under 'Installation'" in done.stderr


def test_options_and_programs(script, tmp_path):
    given = script.parser().parse_args(["a.nrrd", "b.nrrd", "--bin_width", "2.5", "--filter", "log:sigma=2"])
    assert script.options_of(given) == [
        "--feature", "glcm_JointEntropy", "--filter", "log:sigma=2", "--bin-width", "2.5", "--window", "5",
        "--dimensions", "2",
    ]  # fmt: skip
    for name in ("radsynth", "python3.11"):
        (tmp_path / name).touch(mode=0o755)
    assert script.program("radsynth", str(tmp_path)) == [str(tmp_path / "radsynth")]
    assert script.program(str(tmp_path / "python3.11"))[1:] == ["-m", "pipelines"]


def test_the_environment_holds_nothing_of_slicer(script):
    variables = {
        "PATH": os.pathsep.join(("/opt/Slicer/bin", "/usr/bin")), "PYTHONHOME": "/opt/Slicer/lib/Python",
        "LD_LIBRARY_PATH": "/opt/Slicer/lib", "HOME": "/home/me", "EMPTY": "", "OTHER": "/opt/Slicer2",
    }  # fmt: skip
    kept = {"PATH": "/usr/bin", "HOME": "/home/me", "EMPTY": "", "OTHER": "/opt/Slicer2"}
    assert script.environment_outside("/opt/Slicer/", variables) == kept
    assert script.environment_outside(None, variables) == variables
