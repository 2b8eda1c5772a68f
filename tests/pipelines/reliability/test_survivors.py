"""The parameter file of the maps that survive says what was measured, with the options that it names."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import features_named
from pipelines.images.masks import MaskChoice
from pipelines.reliability.survivors import write_survivors
from pipelines.shell.parameter_file import read_parameter_file
from pipelines.shell.settings import glcm_settings_from, settings_options

PYRADIOMICS = GLCMSettings.preset("pyradiomics")
FEATURES = features_named(["joint_entropy", "firstorder_Mean", "ngtdm_Coarseness"])


@pytest.mark.parametrize(
    "settings",
    [
        GLCMSettings(),
        GLCMSettings.preset("pyradiomics"),
        GLCMSettings.preset("haralick"),
        GLCMSettings.preset("ibsi-3d-merge"),
        GLCMSettings.preset("itk"),
        GLCMSettings(levels=32, range_over="mask", percentiles=(1, 99), slice_axis=1, distance=(1, 2)),
        GLCMSettings(
            bin_width=0.5, dimensions=3, window=(3, 5, 7), masked_window=False, ngtdm_isolated=False
        ),
        GLCMSettings(deviations=3.0, gldm_a=2, intensity_shift=0.5, symmetric=False),
    ],
)
def test_file_and_options_give_the_settings(tmp_path, settings):
    path = tmp_path / "survivors.yaml"
    options = write_survivors(path, FEATURES, settings, MaskChoice(label=3))
    parameters = read_parameter_file(path)
    assert set(parameters.features) == {feature.name for feature in FEATURES}
    assert parameters.mask_choice.label == 3
    found = []

    @click.command()
    @settings_options()
    def command(**given):
        found.append(glcm_settings_from(given, parameters.settings))

    assert CliRunner().invoke(command, " ".join(options).split()).exit_code == 0
    void = {"levels"} if settings.bin_width is not None else set()
    void |= {"range_over"} if settings.intensity_range is not None else set()
    told, wanted = found[0].to_dict(), settings.to_dict()
    assert {name for name in wanted if told[name] != wanted[name]} <= void
    assert " ".join(options[:1]) in path.read_text().replace("\n# ", " ")


@pytest.mark.parametrize("label", [2, (1, 3), "all"])
def test_labels_are_in_the_file(tmp_path, label):
    path = tmp_path / "survivors.yaml"
    assert write_survivors(path, FEATURES, PYRADIOMICS, MaskChoice(label=label)) == []
    assert read_parameter_file(path).mask_choice.label == label


def test_without_a_label_all_of_them_were_judged_and_a_segment_is_an_option(tmp_path):
    path = tmp_path / "survivors.yaml"
    write_survivors(path, FEATURES, PYRADIOMICS, MaskChoice())
    assert read_parameter_file(path).mask_choice.label == "all"
    options = write_survivors(path, FEATURES, PYRADIOMICS, MaskChoice(segment="Tumour core"))
    assert options == ["--segment 'Tumour core'"]
    assert options[0] in path.read_text()
