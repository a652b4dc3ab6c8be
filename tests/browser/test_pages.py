"""What the site promises, tried in a browser."""

import re
from html import unescape

import numpy as np
import pytest
from PIL import Image
from torch import nn

from helpers.receptive_field import layer_table

CHOICES = [1, 3, 5, 7, 9, 11], [1, 2, 3, 4], [1, 2, 3, 4, 6, 8]  # kernel, stride, dilation


@pytest.fixture(scope="session")
def names(site):
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html") if "_static" not in path.parts)
    assert len(found) > 30 and "index.html" in found
    return found


def test_every_page_opens_without_errors_or_other_hosts_and_never_scrolls_sideways(page, address, names):
    troubles = []
    page.on("console", lambda message: message.type == "error" and troubles.append((page.url, message.text)))
    page.on("pageerror", lambda error: troubles.append((page.url, str(error))))
    page.on("request", lambda asked: asked.url.startswith((address, "data:")) or troubles.append(asked.url))
    page.on("requestfailed", lambda asked: troubles.append(("failed", asked.url)))
    for name in names:
        page.goto(f"{address}/{name}")
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            if page.evaluate("document.documentElement.scrollWidth") > width:
                troubles.append((name, width))
    assert troubles == []


def test_search_finds_dilation(page, address):
    troubles = []
    page.on("console", lambda message: message.type == "error" and troubles.append(message.text))
    page.goto(f"{address}/search.html?q=dilation")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("document.querySelector('#search-results').innerText.includes('03 ·')")
    page.wait_for_timeout(500)  # a page in a folder may not read others for excerpts, and has to do without asking
    assert troubles == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_for_axe(browser, site, names, theme):
    """Its rules hold the contrast of text and captions (4.5; 3 where letters are large), and texts of images."""
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    page, troubles = context.new_page(), []
    for name in names:
        page.goto(f"file://{site}/{name}")
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        for rule in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]:
            if rule["impact"] in ("serious", "critical"):
                troubles.append((name, rule["id"], [node["html"][:150] for node in rule["nodes"]][:3]))
    context.close()
    assert troubles == []


def test_figures_are_opaque_so_that_dark_pages_do_not_swallow_them(site):
    figures = list((site / "_images").glob("*.png"))
    assert len(figures) > 40
    for path in figures:
        image = Image.open(path).convert("RGBA")
        assert image.getchannel("A").getextrema() == (255, 255), path.name


def test_internal_links_and_anchors_land(site, names):
    texts = {name: (site / name).read_text("utf-8") for name in names}
    ids = {name: set(map(unescape, re.findall(r'\bid="([^"]+)"', text))) for name, text in texts.items()}
    lost, seen = [], 0
    for name, text in texts.items():
        for link in map(unescape, re.findall(r'<a\b[^>]*\bhref="([^"]*)"', text)):
            if re.match(r"\w+:", link) or re.match(r"#\d", link) or not link:  # elsewhere, or a stack of layers
                continue
            path, _, anchor = link.partition("#")
            target = ((site / name).parent / path.partition("?")[0]).resolve() if path else site / name
            seen += 1
            if not target.is_file() or (anchor and anchor not in ids[target.relative_to(site).as_posix()]):
                lost.append((name, link))
    assert seen > 1000 and lost == []


def test_images_have_a_text_of_their_own(site, names):
    found = 0
    for name in names:
        for tag in re.findall(r"<img\b[^>]*>", (site / name).read_text("utf-8")):
            found += 1
            text = re.search(r'alt="([^"]*)"', tag)
            assert text and len(text[1]) > 10 and not text[1].endswith(".png"), (name, tag)
    assert found > 40


def test_solutions_are_closed_until_clicked(page, site):
    page.goto(f"file://{site}/notebooks/07_your_own_network.html")
    solution = page.locator("details", has_text="Solution of 07.2")
    code = solution.locator("pre")
    assert solution.count() == 1 and not code.is_visible()
    assert page.locator("details[open]").count() == 0
    solution.locator("summary").click()
    assert code.is_visible() and "def conv_parameters" in code.inner_text()


def test_the_table_of_results_is_sorted_by_a_click_and_a_dash_is_last(page, site):
    page.goto(f"file://{site}/index.html")
    for column, order in (("measured", "ascending"), ("measured", "descending"), ("parameters", "ascending")):
        page.get_by_role("button", name=column).click()
        head = page.locator(".sortable th", has_text=column)
        assert head.get_attribute("aria-sort") == order
        number = head.evaluate("head => head.cellIndex") + 1
        cells = page.locator(f".sortable tbody td:nth-child({number})").all_inner_texts()
        values = [float(cell.split()[0].replace(",", "")) for cell in cells if cell != "–"]
        assert values == sorted(values, reverse=order == "descending") and len(values) > 4
        assert "–" not in cells[: len(values)]


def test_the_explorer_counts_as_the_helper_does(page, site):
    page.goto(f"file://{site}/explorer.html")
    rng = np.random.default_rng(0)
    for _ in range(200):
        stack = [[int(rng.choice(values)) for values in CHOICES] for _ in range(rng.integers(1, 7))]
        layers = [nn.Conv2d(3, 3, k, s, padding=d * (k - 1) // 2, dilation=d) for k, s, d in stack]
        table = layer_table(nn.Sequential(*layers))
        shown = page.evaluate("stack => receptiveFields(stack)", stack)
        assert [(row["jump"], row["rf"]) for row in shown] == list(zip(table.jump, table.rf, strict=True)), stack
        assert [row["side"] for row in shown] == [size[1] for size in table.output], stack


def test_the_explorer_is_used_by_keyboard_and_its_address_carries_the_stack(page, site):
    page.goto(f"file://{site}/explorer.html#3,3s2,3d2")
    assert page.locator("#explorer td.rf").all_inner_texts() == ["3", "5", "13"]
    page.get_by_label("kernel of layer 1").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#explorer td.rf").all_inner_texts() == ["5", "7", "15"]
    assert page.url.endswith("#5,3s2,3d2") and "15 x 15" in page.locator("#explorer-words").inner_text()
    page.get_by_role("button", name="Add a layer").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="remove layer 1").press("Enter")
    assert page.url.endswith("#3s2,3d2,3") and page.locator("#explorer td.rf").all_inner_texts() == ["3", "11", "15"]
    assert "3, 11, 15" in page.locator("#explorer svg").get_attribute("aria-label")


def test_the_explorer_takes_a_picture_of_ones_own_and_tells_what_is_none(page, site, tmp_path):
    Image.new("RGB", (60, 40), (10, 200, 30)).save(tmp_path / "green.png")
    (tmp_path / "text.png").write_text("no picture")
    page.goto(f"file://{site}/explorer.html#3")
    middle = "canvas => [...canvas.getContext('2d').getImageData(200, 200, 1, 1).data]"
    before = page.locator("#explorer canvas").evaluate(middle)
    page.get_by_label("A picture of your own").set_input_files(tmp_path / "green.png")
    page.wait_for_timeout(300)
    assert page.locator("#explorer canvas").evaluate(middle) == [10, 200, 30, 255] != before
    page.get_by_label("A picture of your own").set_input_files(tmp_path / "text.png")
    page.wait_for_function("document.querySelector('#explorer-words').innerText.startsWith('text.png is no picture')")


@pytest.mark.parametrize("text", ["%E0%A4%A", "3,4", "3,,3", "99", "3s9", "3d2s2", ",".join("3" * 25)])
def test_an_address_that_names_no_stack_is_told(page, site, text):
    page.goto(f"file://{site}/explorer.html#{text}")
    assert page.locator("#explorer-words").inner_text().startswith(f"{text} is no stack of this page: give")


@pytest.mark.parametrize("name", ["index", "explorer", "notebooks/03_receptive_field", "notebooks/07_your_own_network"])
def test_on_paper_nothing_is_cut_off_and_what_cannot_be_clicked_is_left_out(page, site, name):
    page.set_viewport_size({"width": 680, "height": 960})  # A4 without its margins
    page.emulate_media(media="print", color_scheme="dark")
    page.goto(f"file://{site}/{name}.html")
    cut = """all => all.filter(one => one.getBoundingClientRect().right > innerWidth + 1
                                    || one.scrollWidth > one.clientWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
    assert page.locator(".bd-article :is(table, pre, img, canvas, svg, .cell_output)").evaluate_all(cut) == []
    for gone in (
        ".bd-header-article",
        "#explorer button",
        ".bd-sidebar-primary",
        "details:not([open])",
        ".prev-next-area",
    ):
        assert not any(one.is_visible() for one in page.locator(gone).all()), gone
    theme = """event => { window.dispatchEvent(new Event(event)); return document.documentElement.dataset.theme; }"""
    assert [page.evaluate(theme, event) for event in ("beforeprint", "afterprint")] == ["light", "dark"]
