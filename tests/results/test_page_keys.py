"""Keys of the scenario on a page: each is a link to its row on the reference page beside it, and texts stay texts."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from cosim.results.pages.keys import KEYS_FILE, linked, write_keys
from cosim.results.pages.runs import write_pages
from cosim.scenario.loading import load_scenario


class Read(HTMLParser):
    """The text of a page, what it links to with the text of each link, its ids and other elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.ids, self.elements, self.links = "", list[str](), set[str](), list[tuple[str, str]]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.add(tag)
        if "id" in given:
            self.ids.append(str(given["id"]))
        if tag == "a":
            self.links.append((str(given["href"]), ""))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.links and not self.links[-1][1]:
            self.links[-1] = (self.links[-1][0], data)


def keys_in(data: Any) -> list[str]:
    if isinstance(data, dict):
        return [name for key, value in data.items() for name in (str(key), *keys_in(value))]
    return [name for entry in data for name in keys_in(entry)] if isinstance(data, list) else []


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("keys") / KEYS_FILE
    write_keys(path)
    return Read(path.read_text(encoding="utf-8")).ids


def test_no_two_rows_have_the_same_place(places: list[str]) -> None:
    assert len(places) == len(set(places))
    assert {"network.v_min_pu", "datacenters.pue", "experiment:factors"} <= set(places)


@pytest.mark.parametrize(("scenario", "own"), [("ieee37_flexible", []), ("two_feeders", ["east", "west"])])
def test_every_key_of_an_effective_scenario_leads_to_its_row(scenario: str, own: list[str], places: list[str]) -> None:
    data = load_scenario(scenario)[0].model_dump(mode="json")
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    shown = Read(str(linked(text)))
    assert shown.text == text
    assert sorted([*own, *(word for _, word in shown.links)]) == sorted(keys_in(data))
    for target, word in shown.links:
        page, _, place = target.partition("#")
        assert page == KEYS_FILE and place in places
        assert place.rpartition(".")[2] == word


@pytest.mark.parametrize("text", [
    "näme: '→'\nseed: 3\nparameters: {seed: <b>1</b>}\n", "seed: &a {seed: 1}\nmode: *a\n", "seed: [", "", "- seed\n",
    "'</a><script>': {seed: 1}\n",
])  # fmt: skip
def test_texts_stay_what_they_are(text: str) -> None:
    shown = Read(str(linked(text)))
    assert shown.text == text
    assert shown.elements <= {"a"}
    assert {word for _, word in shown.links} <= {"seed", "mode"}


def test_the_reference_page_lies_where_a_page_links_to(run_folder: Path) -> None:
    text = write_pages(run_folder).read_text(encoding="utf-8")
    (target,) = {link.partition("#")[0] for link, word in Read(text).links if word == "name"}
    assert (run_folder / target).is_file()
