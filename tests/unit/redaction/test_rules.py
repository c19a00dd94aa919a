from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_node.errors import Hold
from dicom_node.model import Region
from dicom_node.redaction.rule_conditions import And, Applies, Not, Operator, Or, Test
from dicom_node.redaction.rules import Area, Place, Rule, Size, apply_rules, outside, ultrasound_regions

ALWAYS = And()
MODALITY, MANUFACTURER, IMAGE_TYPE = 0x00080060, 0x00080070, 0x00080008
SERIES_NUMBER, BITS_STORED = 0x00200011, 0x00280101


def image(rows: int = 60, columns: int = 80, **attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.Rows, dataset.Columns = rows, columns
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def with_region(left: int, top: int, right: int, bottom: int) -> Dataset:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = left, top
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = right, bottom
    return image(SequenceOfUltrasoundRegions=[region])


def areas(regions: tuple[Region, ...]) -> list[tuple[int, int, int, int]]:
    return [(region.row, region.column, region.height, region.width) for region in regions]


@pytest.mark.parametrize(
    ("operator", "value", "holds"),
    [
        (Operator.EQUALS, "Example Medical", True),
        (Operator.EQUALS, "example medical", False),
        (Operator.EQUALS_IGNORE_CASE, "example medical", True),
        (Operator.CONTAINS, "Medical", True),
        (Operator.CONTAINS, "medical", False),
        (Operator.CONTAINS_IGNORE_CASE, "MEDICAL", True),
        (Operator.STARTS_WITH, "Example", True),
        (Operator.STARTS_WITH, "example", False),
        (Operator.STARTS_WITH_IGNORE_CASE, "EXAMPLE", True),
        (Operator.ENDS_WITH, "Medical", True),
        (Operator.ENDS_WITH, "MEDICAL", False),
        (Operator.ENDS_WITH_IGNORE_CASE, "MEDICAL", True),
        (Operator.MATCHES, "Example.*", True),
        (Operator.MATCHES, "Example", False),
        (Operator.HAS, "medical|nothing", True),
        (Operator.HAS, "^medical", False),
        (Operator.IS, "EXAMPLE MEDICAL", True),
        (Operator.IS, "example", False),
        (Operator.LIKE, "Example*", True),
        (Operator.LIKE, "example*", False),
        (Operator.PRESENT, "", True),
        (Operator.EMPTY, "", False),
    ],
)
def test_a_text_is_compared_as_the_operator_says(operator: Operator, value: str, *, holds: bool) -> None:
    assert Test((MANUFACTURER,), operator, value).holds(image(Manufacturer="Example Medical ")) is holds


@pytest.mark.parametrize("operator", sorted(set(Operator) - {Operator.MATCHES, Operator.LIKE}))
def test_an_absent_attribute_fits_no_text(operator: Operator) -> None:
    assert not Test((MANUFACTURER,), operator, "1").holds(image())


def test_an_absent_attribute_counts_as_empty_where_the_original_says_so() -> None:
    assert Test((MANUFACTURER,), Operator.EQUALS, "").holds(image())
    assert Test((MANUFACTURER,), Operator.LIKE, "*").holds(image())
    assert not Test((MANUFACTURER,), Operator.IS, "").holds(image())


def test_empty_is_not_absent() -> None:
    assert Test((MANUFACTURER,), Operator.EMPTY).holds(image(Manufacturer=""))
    assert Test((MANUFACTURER,), Operator.PRESENT).holds(image(Manufacturer=""))
    assert not Test((MANUFACTURER,), Operator.EMPTY).holds(image())


def test_several_values_are_one_text_for_ctp_and_each_a_text_for_deid() -> None:
    dataset = image(ImageType=["DERIVED", "SECONDARY"])
    assert Test((IMAGE_TYPE,), Operator.EQUALS, "DERIVED\\SECONDARY").holds(dataset)
    assert not Test((IMAGE_TYPE,), Operator.EQUALS, "SECONDARY").holds(dataset)
    assert Test((IMAGE_TYPE,), Operator.IS, "secondary").holds(dataset)
    assert Test((IMAGE_TYPE,), Operator.LIKE, "SECOND*").holds(dataset)


def test_numbers_are_compared_as_numbers() -> None:
    dataset = image(SeriesNumber="1000")
    assert Test((SERIES_NUMBER,), Operator.IS_GREATER_THAN, "900").holds(dataset)
    assert not Test((SERIES_NUMBER,), Operator.IS_LESS_THAN, "900").holds(dataset)


@pytest.mark.parametrize("operator", [Operator.IS_LESS_THAN, Operator.IS_GREATER_THAN])
@pytest.mark.parametrize("value", ["Example 9", "inf", "nan"])
def test_what_is_no_number_is_held_and_not_shown(operator: Operator, value: str) -> None:
    with pytest.raises(Hold, match="Manufacturer") as held:
        Test((MANUFACTURER,), operator, "5").holds(image(Manufacturer=value))
    assert value not in str(held.value)


def test_an_attribute_that_cannot_be_read_is_held_and_not_shown() -> None:
    dataset = image()
    raw = RawDataElement(Tag(BITS_STORED), "US", 3, b"DOE", 0, is_implicit_VR=False, is_little_endian=True)
    dataset[raw.tag] = raw
    with pytest.raises(Hold, match="BitsStored") as held:
        apply_rules([Rule("r", Test((BITS_STORED,), Operator.EQUALS, "1"), (Area(0, 0, 1, 1),))], dataset)
    assert "DOE" not in str(held.value)


def test_an_attribute_in_a_sequence_is_that_of_the_first_item() -> None:
    test = Test((0x00186011, 0x0018601A), Operator.EQUALS, "7")
    assert test.holds(with_region(1, 7, 20, 30))
    assert not test.holds(with_region(1, 8, 20, 30))
    assert not test.holds(image())


def test_conditions_are_joined() -> None:
    us, example = Test((MODALITY,), Operator.EQUALS, "US"), Test((MANUFACTURER,), Operator.EQUALS, "Example")
    dataset = image(Modality="US", Manufacturer="Other")
    assert not And((us, example)).holds(dataset)
    assert Or((example, us)).holds(dataset)
    assert And((us, Not(example))).holds(dataset)
    assert And().holds(dataset)
    assert not Or().holds(dataset)


def test_the_regions_of_all_rules_that_apply_go_in_all_frames() -> None:
    rules = [
        Rule("a", Test((MODALITY,), Operator.EQUALS, "US"), (Area(0, 0, 10, 80),)),
        Rule("b", ALWAYS, (Area(50, 70, 10, 10), Area(0, 0, 10, 80))),
        Rule("c", Test((MODALITY,), Operator.EQUALS, "CT"), (Place.WHOLE_IMAGE,)),
    ]
    result = apply_rules(rules, image(Modality="US", NumberOfFrames=3))
    assert result.regions == (Region(0, 0, 10, 80, 0, 2, "rule"), Region(50, 70, 10, 10, 0, 2, "rule"))
    assert result.said == ()


def test_a_rule_for_another_size_does_not_apply_and_that_is_said() -> None:
    rules = [Rule("BANNER", ALWAYS, (Area(0, 0, 10, 80),), rows=61), Rule("SIDE", ALWAYS, (Area(0, 80, 9, 9),))]
    assert apply_rules(rules, image()) == (
        (),
        (
            "rule BANNER does not apply: made for 61xany, the image has 60x80",
            "rule SIDE does not apply: an area of it lies outside of the image, which has 60x80",
        ),
    )


def test_a_rule_for_another_device_says_nothing() -> None:
    rule = Rule("r", Test((MODALITY,), Operator.EQUALS, "CT"), (Place.WHOLE_IMAGE,), rows=61)
    assert apply_rules([rule], image(Modality="US")) == ((), ())


def test_an_area_that_reaches_out_of_the_image_is_clipped() -> None:
    (region,) = apply_rules([Rule("r", ALWAYS, (Area(50, 0, 100, 1000),))], image()).regions
    assert (region.row, region.column, region.height, region.width) == (50, 0, 10, 80)


def test_everything_outside_of_what_is_kept_goes_and_so_do_regions_in_it() -> None:
    rule = Rule("r", ALWAYS, (Area(20, 20, 1, 1),), (Area(10, 10, 30, 40),))
    assert areas(apply_rules([rule], image()).regions) == [
        (20, 20, 1, 1),
        (0, 0, 10, 80),
        (10, 0, 30, 10),
        (10, 50, 30, 30),
        (40, 0, 20, 80),
    ]


def test_a_rule_can_ask_whether_another_is_carried_out() -> None:
    other = Rule("other", ALWAYS, (Place.WHOLE_IMAGE,), rows=61)
    assert Applies(other).holds(image(rows=61))
    assert not Applies(other).holds(image())


@pytest.mark.parametrize(("keyword", "value"), [("Rows", 0), ("Columns", None), ("NumberOfFrames", 0)])
def test_an_image_without_a_size_is_held(keyword: str, value: object) -> None:
    dataset = image()
    setattr(dataset, keyword, value)
    with pytest.raises(Hold, match="no size"):
        apply_rules([], dataset)


def test_what_lies_outside_of_the_ultrasound_regions_goes_and_their_corners_stay() -> None:
    assert areas(ultrasound_regions(with_region(10, 5, 69, 49))) == [
        (0, 0, 5, 80),
        (5, 0, 45, 10),
        (5, 70, 45, 10),
        (50, 0, 10, 80),
    ]


def test_a_corner_that_is_counted_as_outside_is_taken_for_the_edge_of_the_image() -> None:
    assert areas(ultrasound_regions(with_region(0, 5, 80, 60))) == [(0, 0, 5, 80)]


def test_an_image_without_ultrasound_regions_says_nothing_about_itself() -> None:
    assert ultrasound_regions(image()) == ()


@pytest.mark.parametrize("corners", [(0, 0, 81, 59), (0, 0, 79, 61), (20, 0, 19, 59), (80, 0, 80, 59)])
def test_ultrasound_regions_that_contradict_the_image_are_held(corners: tuple[int, int, int, int]) -> None:
    with pytest.raises(Hold, match="Ultrasound Regions"):
        ultrasound_regions(with_region(*corners))


@pytest.mark.parametrize("items", [[], [Dataset()]])
def test_ultrasound_regions_that_say_nothing_are_held(items: list[Dataset]) -> None:
    with pytest.raises(Hold, match="Ultrasound Regions"):
        ultrasound_regions(image(SequenceOfUltrasoundRegions=items))
    keep = Rule("r", ALWAYS, keep=(Place.ULTRASOUND_REGIONS,))
    with pytest.raises(Hold, match="Ultrasound Regions"):
        apply_rules([keep], image(SequenceOfUltrasoundRegions=items))


@given(st.lists(st.tuples(*[st.integers(0, 7)] * 2, *[st.integers(1, 8)] * 2), max_size=5))
def test_outside_is_exactly_the_rest_and_no_pixel_twice(rectangles: list[tuple[int, int, int, int]]) -> None:
    size = Size(8, 9, 1)
    kept = [area for rectangle in rectangles if (area := Area(*rectangle).within(size))]
    count = np.zeros((8, 9), int)
    for area in outside(kept, size):
        count[area.row : area.row + area.height, area.column : area.column + area.width] += 1
    expected = np.ones((8, 9), int)
    for area in kept:
        expected[area.row : area.row + area.height, area.column : area.column + area.width] = 0
    assert np.array_equal(count, expected)
