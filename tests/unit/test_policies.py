"""From a route to its policy: rule files are read, and a mistake names its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dicom_node.config import Configuration
from dicom_node.errors import ConfigurationError
from dicom_node.policies import load_rules, policies

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.redaction import Policy

YAML = "- {name: banner, match: {Modality: US}, regions: [{left: 0, top: 0, width: 9, height: 5}]}\n"
SCRIPT = '{ Modality.equals("US") }\n(0,0,9,5)\n'
RECIPE = "FORMAT dicom\n\n%filter graylist\n\nLABEL Banner\ncontains Modality US\n  ctpcoordinates 0,0,9,5\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def configuration(*routes: dict[str, Any], **more: Any) -> Configuration:  # noqa: ANN401 - as YAML gives it
    named = [{"name": f"route-{number}", "destinations": ["clean"], **route} for number, route in enumerate(routes)]
    content = {"destinations": {"clean": {"folder": "out"}}, "routes": named, **more}
    return Configuration.model_validate(content)


def policy(**route: Any) -> Policy:  # noqa: ANN401 - as YAML gives it
    (made,) = policies(configuration(route)).values()
    return made


@pytest.mark.parametrize(
    ("name", "text"),
    [("own.yaml", YAML), ("own.yml", YAML), ("ctp.script", SCRIPT), ("deid.recipe", RECIPE), ("deid.dicom", RECIPE)],
)
def test_rule_files_of_each_kind_are_read_from_a_route(tmp_path: Path, name: str, text: str) -> None:
    (rule,) = policy(rules=[str(written(tmp_path, name, text))]).rules
    (area,) = rule.regions
    assert (area.row, area.column, area.height, area.width) == (0, 0, 5, 9)  # type: ignore[union-attr]  # an Area


def test_rules_of_several_files_stand_in_their_order(tmp_path: Path) -> None:
    paths = (written(tmp_path, "b.yaml", YAML.replace("banner", "b")), written(tmp_path, "a.yaml", YAML))
    assert [rule.name for rule in load_rules(paths)] == ["b", "banner"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("own.yaml", YAML.replace("width: 9", "width: 0"), "rule 1 'banner'"),
        ("own.yaml", YAML.replace("Modality", "Modalty"), "Modalty"),
        ("own.yaml", "banner: {}\n", "a list of rules"),
        ("own.yaml", "- [unclosed\n", "line 2"),
        ("ctp.script", "{ Modality.equals('US') \n(0,0,9,5)\n", "line 1"),
        ("deid.recipe", RECIPE.replace("contains Modality", "contians Modality"), "line 6"),
    ],
)
def test_a_mistake_in_a_rule_file_names_the_file_and_the_place(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(ConfigurationError) as caught:
        policy(rules=[str(path)])
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.yaml", "nowhere.script", "nowhere.recipe"])
def test_a_rule_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: cannot be read"):
        load_rules([tmp_path / name])


@pytest.mark.parametrize(
    ("route", "looks"),
    [
        ({}, False),
        ({"strict": True}, True),
        ({"second_look": True}, True),
        ({"strict": True, "second_look": False}, False),
        ({"strict": False, "second_look": True}, True),
    ],
)
def test_strict_looks_twice_unless_second_look_says_otherwise(route: dict[str, bool], looks: bool) -> None:  # noqa: FBT001
    assert policy(**route).second_look is looks


def test_every_word_of_a_route_reaches_its_policy() -> None:
    made = policies(
        configuration(
            {
                "policy": "phi-only",
                "ultrasound_regions": True,
                "overlays": "redact",
                "documents": "remove",
                "annotations": "remove",
                "safe_text": ["PROTO [A-D]"],
            },
            redact={"fill": "contrast"},
        )
    )["route-0"]
    assert (made.name, made.fill, made.ultrasound_regions) == ("phi-only", "contrast", True)
    assert (made.overlays, made.documents, made.annotations) == ("redact", "remove", "remove")
    assert made.safe_text == ("PROTO [A-D]",)


def test_a_route_that_says_nothing_removes_and_holds() -> None:
    made = policy()
    assert (made.name, made.overlays, made.documents, made.annotations) == ("keep-safe-text", "remove", "hold", "hold")
    assert (made.safe_text, made.spacy_model) == ((), "")


def test_a_route_that_passes_has_no_policy_for_pixels() -> None:
    assert list(policies(configuration({"policy": "pass"}, {}))) == ["route-1"]
