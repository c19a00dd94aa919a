from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from pydicom import Dataset

from dicom_node.errors import ConfigurationError
from dicom_node.redaction.rule_files import RuleFile, read_rules, rules_from
from dicom_node.redaction.rules import Rule, RuleResult, apply_rules

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLES = Path(__file__).parents[3] / "config" / "examples" / "rules"
AREA = {"left": 1, "top": 2, "width": 3, "height": 4}
WHOLE = (0, 0, 60, 80)
BANNER = (0, 0, 10, 80)
REGION = "keepcoordinates from:SequenceOfUltrasoundRegions"


def image(rows: int = 60, columns: int = 80, **attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.Rows, dataset.Columns = rows, columns
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def ultrasound_region(left: int, top: int, right: int, bottom: int) -> Dataset:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = left, top
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = right, bottom
    return region


def areas(result: RuleResult) -> list[tuple[int, int, int, int]]:
    return [(region.row, region.column, region.height, region.width) for region in result.regions]


def script(folder: Path, text: str) -> RuleFile:
    path = folder / "rules.script"
    path.write_text(text, encoding="utf-8")
    return read_rules(path)


def recipe(folder: Path, *lines: str) -> RuleFile:
    path = folder / "deid.dicom"
    path.write_text("\n".join(["FORMAT dicom", "%filter graylist", *lines]), encoding="utf-8")
    return read_rules(path)


def signature(folder: Path, condition: str, dataset: Dataset) -> bool:
    return bool(apply_rules(script(folder, f"{{ {condition} }} (0,0,80,10)").rules, dataset).regions)


def filtered(folder: Path, dataset: Dataset, *lines: str) -> list[tuple[int, int, int, int]]:
    return areas(apply_rules(recipe(folder, *lines).rules, dataset))


# CTP's script


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('Modality.equals("US")', True),
        ('[0008,0060].equals("US")', True),
        ('(0008,0060).equals("US")', True),
        ('!Modality.equals("US")', False),
        ('Modality.equals("us")', False),
        ('Manufacturer.containsIgnoreCase("EXAMPLE") * Modality.equals("US")', True),
        ('Modality.equals("US") + Modality.equals("CT") * Modality.equals("MR")', True),
        ('(Modality.equals("US") + Modality.equals("CT")) * Modality.equals("MR")', False),
        ('!Modality.equals("CT") * !!Modality.equals("US")', True),
        ("true. * !false.", True),
        ('Modality.equals("US") // * false.\n * true.', True),
        ('Modality.equals("US") /* * false. */', True),
        ('Manufacturer.contains("(x) * ")', False),
        ('SeriesNumber.isGreaterThan("5")', True),
        ('ReferencedImageSequence::SeriesNumber.equals("6")', False),
    ],
)
def test_a_signature_is_read_with_ctp_s_precedence(tmp_path: Path, condition: str, *, holds: bool) -> None:
    assert signature(tmp_path, condition, image(Modality="US", Manufacturer="Example", SeriesNumber="6")) is holds


def test_an_attribute_of_a_sequence_s_first_item_can_be_asked_for(tmp_path: Path) -> None:
    dataset = image(SequenceOfUltrasoundRegions=[ultrasound_region(1, 7, 20, 30)])
    assert signature(tmp_path, 'SequenceOfUltrasoundRegions::[0018,601A].equals("7")', dataset)


def test_all_signatures_that_hold_count_not_only_the_first(tmp_path: Path) -> None:
    file = script(tmp_path, 'US\n{ Modality.equals("US") }\n(0,0,80,10)\nall { true. } ( 70, 50, 10, 10 ) (0,0,1,1)')
    assert areas(apply_rules(file.rules, image(Modality="US"))) == [BANNER, (50, 70, 10, 10), (0, 0, 1, 1)]
    assert [rule.name for rule in file.rules] == ["rules.script, line 2", "rules.script, line 4"]


def test_a_size_in_a_signature_that_does_not_match_is_said(tmp_path: Path) -> None:
    file = script(tmp_path, '{ true. * Rows.equals("61") * [0028,0011].equals("80") } (0,0,80,10)')
    assert apply_rules(file.rules, image(rows=61)).regions
    assert apply_rules(file.rules, image()) == (
        (),
        ("rule rules.script, line 1 does not apply: made for 61x80, the image has 60x80",),
    )


def test_a_signature_without_regions_spares_nothing_and_that_is_said(tmp_path: Path) -> None:
    file = script(tmp_path, '{ Modality.equals("US") }\n{ true. } (0,0,80,10)')
    assert len(file.rules) == len(file.said) == 1
    assert "line 1" in file.said[0]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "signature"),
        ("(0,0,1,1)", 1, "signature"),
        ("{ }\n(0,0,1,1)", 1, "term"),
        ('\n{ Modality.equals("US") (0,0,1,1)', 2, "bracket"),
        ("{ true. }\n(0,0,1,1) (", 2, "bracket"),
        ("{ true. } (0,0,1)", 1, "four whole numbers"),
        ("{ true. } (0,0,1,x)", 1, "four whole numbers"),
        ("{ true. } (0,-1,1,1)", 1, "four whole numbers"),
        ("{ true. } (0,0,1,0)", 1, "1 or more"),
        ('{ true. *\n Modality.resembles("US") } (0,0,1,1)', 2, "startsWithIgnoreCase"),
        ('{ Modality.has("US") } (0,0,1,1)', 1, "no method"),
        ('{ Modalty.equals("US") } (0,0,1,1)', 1, "PS3.6"),
        ('{ TransferSyntaxUID.equals("1") } (0,0,1,1)', 1, "PS3.6"),
        ("{ Modality.equals(US) } (0,0,1,1)", 1, "term"),
        ("{ true. false. } (0,0,1,1)", 1, "operator"),
        ("{ (true. } (0,0,1,1)", 1, "parenthesis"),
        ("{ true. * } (0,0,1,1)", 1, "term"),
        ("{ true. & true. } (0,0,1,1)", 1, "operator"),
        ('{ Modality.matches("(") } (0,0,1,1)', 1, "regular expression"),
        ('{ SeriesNumber.isLessThan("many") } (0,0,1,1)', 1, "no number"),
    ],
)
def test_what_is_not_understood_in_a_script_is_an_error(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"rules\.script: line {line}: .*{said}"):
        script(tmp_path, text)


# Recipes of deid


@pytest.mark.parametrize(
    ("lines", "holds"),
    [
        (["contains Manufacturer examp|other"], True),
        (["contains Manufacturer ^ample"], False),
        (["notcontains Manufacturer EXAMPLE"], False),
        (["equals Manufacturer EXAMPLE medical"], True),
        (["equals Manufacturer Example"], False),
        (["notequals Manufacturer Example"], True),
        (["missing PatientName"], True),
        (["present PatientName"], False),
        (["present StationName"], True),
        (["empty StationName"], True),
        (["empty PatientName"], False),
        (["notcontains PatientName x"], True),
        (["equals 0x00080060 us"], True),
        (["contains Modality CT", "|| contains Modality US", "+ contains Manufacturer Example"], True),
        (["contains Modality US", "|| contains Modality CT", "+ contains Manufacturer Other"], False),
        (["contains Modality US", "contains Manufacturer Other"], False),
        (["+ contains Modality US"], True),
        (["contains Modality CT || contains Modality US + contains Manufacturer Other"], False),
        (["contains Modality US", "+ contains Manufacturer Other || contains Manufacturer Example"], True),
        (["contains Manufacturer Exa+mple || equals Modality CT"], True),
    ],
)
def test_the_conditions_of_a_label_are_read_as_deid_s(tmp_path: Path, lines: list[str], *, holds: bool) -> None:
    dataset = image(Modality="US", Manufacturer="Example Medical", StationName="")
    assert filtered(tmp_path, dataset, "LABEL x", *lines, "coordinates 0,0,80,10") == ([BANNER] if holds else [])


def test_coordinates_are_corners_and_those_of_ctp_have_a_size(tmp_path: Path) -> None:
    lines = ["coordinates 10,20,30, 50", "ctpcoordinates 10,20,30,5", "CTPCoordinates 0,0,1,1"]
    assert filtered(tmp_path, image(), "LABEL x", *lines) == [(20, 10, 30, 20), (20, 10, 5, 30), (0, 0, 1, 1)]


def test_a_condition_may_stand_below_coordinates(tmp_path: Path) -> None:
    lines = ["LABEL x", "coordinates all", "+ contains Modality US"]
    assert filtered(tmp_path, image(Modality="US"), *lines) == [WHOLE]
    assert filtered(tmp_path, image(Modality="CT"), *lines) == []


@pytest.mark.parametrize("before", [["coordinates all"], ["coordinates 0,0,80,10"], []])
def test_what_is_not_kept_goes_whatever_stands_before(tmp_path: Path, before: list[str]) -> None:
    assert filtered(tmp_path, image(), "LABEL x", *before, "keepcoordinates 0,10,80,60") == [BANNER]
    assert filtered(tmp_path, image(), "LABEL x", *before, "LABEL y", "ctpkeepcoordinates 0,10,80,50") == [BANNER]


def test_what_stands_below_what_is_kept_goes(tmp_path: Path) -> None:
    lines = ["keepcoordinates 0,10,80,60", "coordinates 1,20,2,21"]
    assert filtered(tmp_path, image(), "LABEL x", *lines) == [(20, 1, 1, 1), BANNER]
    assert filtered(tmp_path, image(), "LABEL x", lines[0], "LABEL y", lines[1]) == [BANNER, (20, 1, 1, 1)]


def test_a_label_that_does_not_apply_keeps_nothing(tmp_path: Path) -> None:
    keep = ["LABEL y", "contains Modality US", "keepcoordinates 0,10,80,60"]
    assert filtered(tmp_path, image(Modality="CT"), "LABEL x", "coordinates all", *keep) == [WHOLE]
    other_size = ["LABEL y", "equals Rows 61", "keepcoordinates 0,10,80,60"]
    assert filtered(tmp_path, image(), "LABEL x", "coordinates all", *other_size) == [WHOLE]


@pytest.mark.parametrize("lines", [["LABEL x", "coordinates all", *rest, REGION] for rest in ([], ["LABEL y"])])
def test_ultrasound_regions_are_kept_and_without_them_everything_goes(tmp_path: Path, lines: list[str]) -> None:
    dataset = image(SequenceOfUltrasoundRegions=[ultrasound_region(0, 10, 79, 59)])
    assert filtered(tmp_path, dataset, *lines) == [BANNER]
    assert filtered(tmp_path, image(), *lines) == [WHOLE]


def test_ultrasound_regions_can_go(tmp_path: Path) -> None:
    dataset = image(SequenceOfUltrasoundRegions=[ultrasound_region(0, 0, 79, 9)])
    assert filtered(tmp_path, dataset, "LABEL x", "coordinates from:SequenceOfUltrasoundRegions") == [BANNER]
    assert filtered(tmp_path, image(), "LABEL x", "coordinates from:SequenceOfUltrasoundRegions") == []


def test_what_a_recipe_has_and_we_do_not_carry_out_is_said(tmp_path: Path) -> None:
    file = recipe(
        tmp_path,
        "LABEL Flags only # (a name)",
        "contains Modalty US",
        "LABEL Banner",
        "coordinates all",
        "%header",
        "REMOVE PatientID",
    )
    assert [rule.name for rule in file.rules] == ["deid.dicom, line 5: Banner"]
    assert file.said == (
        "deid.dicom, line 4: 'Modalty' is no attribute of a data set (PS3.6): no image has it",
        "deid.dicom, line 7: the section %header is not about pixels and is ignored",
        "deid.dicom, line 3: the label 'Flags only' has no coordinates: nothing is done by it",
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["LABEL x", "contans Modality US"], "line 4: .*notcontains"),
        (["LABEL x", "contains Modality"], "line 4: .*value"),
        (["LABEL x", "missing Modality US"], "line 4: .*missing"),
        (["LABEL x", "contains Modality ("], "line 4: .*regular expression"),
        (["LABEL x", "contains Modality US || coordinates all", "coordinates none"], "line 5: .*all"),
        (["LABEL x", "coordinates 1,2,3"], "line 4: .*four"),
        (["LABEL x", "coordinates 5,5,5,9"], "line 4: .*1 or more"),
        (["LABEL x", "coordinates 5,5,4,9"], "line 4: .*1 or more"),
        (["LABEL x", "coordinates"], "line 4: .*coordinates"),
        (["LABEL x", "keepcoordinates from:OverlayData"], "line 4: .*from:SequenceOfUltrasoundRegions"),
        (["LABEL x", "missing Modality", "|| empty Modality", "keepcoordinates all"], "line 5: .*within a line only"),
        (["coordinates all"], "line 3: .*LABEL"),
        (["%filters x"], "line 3: .*%filter"),
        ([], "no rule"),
    ],
)
def test_what_is_not_understood_in_a_recipe_is_an_error(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        recipe(tmp_path, *lines)


@pytest.mark.parametrize("text", ["FORMAT nifti", "- name: x", ""])
def test_a_file_of_no_known_kind_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"rules\.txt: line 1"):
        read_rules(path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_rules(tmp_path / "none.script")
    (tmp_path / "binary.script").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_rules(tmp_path / "binary.script")


# Our own


def test_one_of_several_patterns_and_every_line_of_a_match_has_to_fit() -> None:
    match = {"Modality": ["CT", "U?"], "Manufacturer": "Example*", "SeriesNumber": 6}
    rules = rules_from([{"name": "x", "match": match, "regions": [AREA]}])
    assert areas(apply_rules(rules, image(Modality="US", Manufacturer="Example", SeriesNumber=6))) == [(2, 1, 4, 3)]
    assert not apply_rules(rules, image(Modality="US", Manufacturer="example", SeriesNumber=6)).regions
    assert not apply_rules(rules, image(Modality="US", SeriesNumber=6)).regions


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "name: "),
        ({"nme": "x"}, "name, match, rows, columns, regions, keep"),
        ({"match": {}}, "match: .*rows or columns"),
        ({"match": ["US"]}, "match: .*mapping"),
        ({"match": {"Modalty": "US"}}, "match: 'Modalty' .*PS3.6"),
        ({"match": {"Modality": None}}, "Modality: .*text"),
        ({"match": {"Modality": [True]}}, "Modality: .*text"),
        ({"match": {"Modality": []}}, "Modality: .*text"),
        ({"rows": 0}, "rows: .*at least 1"),
        ({"columns": "80"}, "columns: .*whole number"),
        ({"regions": []}, "regions: .*left, top, width, height"),
        ({"regions": [{**AREA, "right": 3}]}, "regions: .*left, top, width, height"),
        ({"regions": [{**AREA, "left": -1}]}, "regions: left: .*at least 0"),
        ({"keep": [{**AREA, "height": 0}]}, "keep: height: .*at least 1"),
        ({"keep": [{"left": 1}]}, "keep: top: "),
        ({"keep": [3]}, "keep: .*mapping"),
    ],
)
def test_a_mistake_in_a_rule_of_ours_is_named(change: dict[str, object], said: str) -> None:
    right = {"name": "Banner", "match": {"Modality": "US"}, "regions": [AREA]}
    assert len(rules_from([right])) == 1
    with pytest.raises(ConfigurationError, match=rf"rules: rule 2.*{said}"):
        rules_from([right, {**right, **change}])


def test_a_rule_that_cleans_nothing_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="nothing would be cleaned"):
        rules_from([{"name": "x", "match": {"Modality": "US"}}])


# The examples


def examples() -> Iterable[tuple[Rule, ...]]:
    yield rules_from(yaml.safe_load((EXAMPLES / "banner.yaml").read_text(encoding="utf-8")))
    yield read_rules(EXAMPLES / "banner.script").rules
    yield read_rules(EXAMPLES / "ultrasound.recipe").rules


def test_each_example_cleans_the_banner_of_the_device_it_is_for() -> None:
    dataset = image(600, 800, Modality="US", Manufacturer="Example Medical", ManufacturerModelName="US 9")
    dataset.SoftwareVersions = "4.2"
    dataset.SequenceOfUltrasoundRegions = [ultrasound_region(0, 100, 799, 599)]
    results = [apply_rules(rules, dataset) for rules in examples()]
    assert [result.said for result in results] == [()] * 3
    assert all((0, 0, 60, 800) in areas(result) for result in results)
