"""The docs are correct: links resolve; flags, files and metrics exist; shown output matches the real output; the site
builds."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from keelson_harness.paths import CHECKOUT, keelson_binary

PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    CHECKOUT / "e2e" / "README.md",
    *sorted((CHECKOUT / "e2e").glob("*/README.md")),
    CHECKOUT / "examples" / "fleet" / "README.md",
    CHECKOUT / "deploy" / "charts" / "keelson" / "README.md",
    CHECKOUT / "deploy" / "iam" / "README.md",
]
GUIDES = [CHECKOUT / "docs" / "tutorial.md", *sorted((CHECKOUT / "docs" / "how-to").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)\s]+\.png)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
# Folders of the checkout: a path in the docs that starts with one of these must exist.
TOPS = ("crds", "deploy", "docs", "e2e", "examples", "src", "tests", ".github")
# A line of output that stands for any number of lines.
ELLIPSIS = "..."


def name(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def code(page: Path) -> Iterator[str]:
    """Each line of code blocks, and each text between backticks."""
    text = page.read_text()
    for _, block in BLOCK.findall(text):
        yield from block.splitlines()
    yield from (span.strip() for span in SPAN.findall(BLOCK.sub("", text)))
    # Indented blocks, as in the pages under e2e/.
    yield from (line.strip() for line in BLOCK.sub("", text).splitlines() if line.startswith("    "))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub derives from headings, and explicit ones."""
    text = BLOCK.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in plain} | set(re.findall(r'<a id="([\w-]+)"></a>', text))


def well_formed(address: str) -> bool:
    """Whether an address outside of the docs is https with a public host name, or an e-mail address."""
    parts = urlsplit(address)
    if parts.scheme == "mailto":
        return re.fullmatch(r"[^@\s]+@[\w.-]+\.[a-z]+", parts.path) is not None
    return parts.scheme == "https" and re.fullmatch(r"([\w-]+\.)+[a-z]{2,}", parts.netloc) is not None and "//" not in parts.path


@pytest.mark.parametrize(
    "address", ["http://example.com", "https://localhost/a", "https:/example.com", "https://example.com//a", "mailto:nobody"]
)
def test_malformed_addresses_are_found(address):
    assert not well_formed(address)


@every_page
def test_links_resolve(page):
    for target in LINK.findall(BLOCK.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            # Nothing outside is fetched: a test must not fail because a server does.
            assert well_formed(target), f"{name(page)}: {target}"
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name(page)}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{name(page)}: {target}"


@every_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {m for line in code(page) for m in re.findall(r"^\$? ?make ([a-z0-9-]+)", line)}
    assert named <= targets


@every_page
def test_named_files_exist(page):
    for line in code(page):
        for path in re.findall(r"(?<![\w./~$}-])((?:[\w.-]+/)+[\w.*-]*)", line):
            if path.split("/")[0] not in TOPS:
                continue
            plain = path.rstrip("./") if path.endswith(("/", ".")) else path
            # Pages of e2e/ and deploy/ also use paths relative to themselves.
            found = any(list(base.glob(plain)) for base in (CHECKOUT, page.parent))
            assert found, f"{name(page)}: {path}"


def keelson(*arguments: str) -> str:
    """Standard output of the command. It runs without access to AWS or a cluster."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    result = subprocess.run(
        [keelson_binary(), *arguments],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"keelson {' '.join(arguments)}: {result.stderr}"
    return result.stdout


# k9s has these in every table, and ignores a plugin with one of them.
K9S_KEYS = {"Shift-A", "Shift-J", "Shift-N", "Shift-P", *(f"Ctrl-{letter}" for letter in "ABCDEFGKORSUWXZ")}
K9S_REQUIRED = {"shortCut", "description", "scopes", "command"}
K9S_FIELDS = K9S_REQUIRED | {"args", "background", "confirm"}


def test_k9s_plugins_use_commands_and_options_that_exist():
    path = CHECKOUT / "deploy" / "k9s" / "plugins.yaml"
    plugins = yaml.safe_load(path.read_text())["plugins"]
    plurals = {yaml.safe_load(crd.read_text())["spec"]["names"]["plural"] for crd in (CHECKOUT / "crds").glob("*.yaml")}
    seen = set()
    for plugin in plugins.values():
        assert K9S_REQUIRED <= plugin.keys() <= K9S_FIELDS
        assert plugin["shortCut"] not in K9S_KEYS
        assert set(plugin["scopes"]) <= plurals
        for scope in plugin["scopes"]:
            assert (scope, plugin["shortCut"]) not in seen
            seen.add((scope, plugin["shortCut"]))
        line = " ".join(plugin["args"]) if plugin["command"] == "sh" else " ".join([plugin["command"], *plugin["args"]])
        ((verb, rest),) = re.findall(r"\bkeelson ((?:rollout )?[a-z]+)(.*?)(?:2>|$)", line)
        text = keelson(*verb.split(), "--help")
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{verb} {option}"
    page = (CHECKOUT / "docs" / "how-to" / "other-tools.md").read_text()
    assert {key for _, key in seen} == set(re.findall(r"^\| ((?:Shift|Ctrl)-\w) \|", page, re.MULTILINE))


def test_backstage_example_names_kinds_and_a_label_that_exist():
    folder = CHECKOUT / "examples" / "backstage"
    (locator,) = yaml.safe_load((folder / "app-config.yaml").read_text())["kubernetes"]["clusterLocatorMethods"]
    crds = [yaml.safe_load(path.read_text())["spec"] for path in (CHECKOUT / "crds").glob("*.yaml")]
    served = {(crd["group"], version["name"], crd["names"]["plural"]) for crd in crds for version in crd["versions"]}
    (management,) = locator["clusters"]
    assert {(kind["group"], kind["apiVersion"], kind["plural"]) for kind in management["customResources"]} <= served
    metadata = yaml.safe_load((folder / "catalog-info.yaml").read_text())["metadata"]
    annotations = metadata["annotations"]
    assert annotations["backstage.io/kubernetes-cluster"] == management["name"]
    demo, nodes = yaml.safe_load_all((CHECKOUT / "examples" / "minimal.yaml").read_text())
    assert annotations["backstage.io/kubernetes-namespace"] == demo["metadata"]["namespace"]
    page = (CHECKOUT / "docs" / "how-to" / "other-tools.md").read_text()
    names = f"ekscluster/{demo['metadata']['name']} nodegroup/{nodes['metadata']['name']}"
    assert f"kubectl label {names} backstage.io/kubernetes-id={annotations['backstage.io/kubernetes-id']}\n" in page


def test_flag_table_is_complete():
    text = (CHECKOUT / "docs" / "install.md").read_text()
    table = text[text.index("## 4. Flags") : text.index("## 5.")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `--")]
    documented = {flag for row in rows for flag in FLAG.findall(row)}
    existing = set(FLAG.findall(keelson("controller", "--help"))) - {"--help"}
    assert documented == existing


def test_flags_in_manifests_exist():
    deployment = yaml.safe_load((CHECKOUT / "deploy" / "deployment.yaml").read_text())
    verb, *arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    existing = FLAG.findall(keelson(verb, "--help"))
    assert {argument.partition("=")[0] for argument in arguments} <= set(existing)


def shown_output() -> list:
    """`keelson` commands in `console` blocks, each with the output shown below it."""
    found = []
    for page in PAGES:
        for kind, block in BLOCK.findall(page.read_text()):
            if kind != "console":
                continue
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if command.startswith("keelson "):
                    found.append(pytest.param(command, output, id=f"{name(page)}: {command}"))
    return found


@pytest.mark.parametrize(("command", "output"), shown_output())
def test_shown_output_matches_the_real_output(command, output):
    lines = [
        r"(?:.*\n)*?" if line.strip() == ELLIPSIS else re.escape(line.rstrip()) + r"[ ]*\n"
        for line in output.rstrip().splitlines()
    ]
    real = keelson(*command.split()[1:])
    assert re.fullmatch("".join(lines), real.rstrip() + "\n"), real


def test_tutorial_shows_command_output():
    """Ensures that the test above compares something."""
    commands_shown = {parameter.values[0] for parameter in shown_output()}
    assert "keelson plan -f examples/minimal.yaml" in commands_shown


def test_manifest_in_the_tutorial_is_the_example():
    """Without its comments, which the tutorial's text replaces."""
    example = (CHECKOUT / "examples" / "minimal.yaml").read_text()
    text = (CHECKOUT / "docs" / "tutorial.md").read_text()
    shown = [list(yaml.safe_load_all(block)) for kind, block in BLOCK.findall(text) if kind == "yaml"]
    assert list(yaml.safe_load_all(example)) in shown


def changelog_entries(text: str) -> list[str]:
    """Each entry of the changelog, as one line."""
    sections = re.split(r"^#+ .*$", text, flags=re.MULTILINE)
    return [" ".join(entry.split()) for section in sections for entry in re.split(r"^- ", section, flags=re.MULTILINE)[1:]]


def repeated(entries: list[str]) -> list[str]:
    """The first sentences of entries that begin alike: one says what another says."""
    starts = [re.split(r"(?<=\.)\s", entry.replace("*", ""))[0].lower() for entry in entries]
    return sorted({start for start in starts if starts.count(start) > 1})


def test_changelog_says_nothing_twice():
    entries = changelog_entries((CHECKOUT / "CHANGELOG.md").read_text())
    assert len(entries) > 100
    assert repeated(entries) == []
    twice = changelog_entries("## 1\n\n### Added\n\n- **This is\n  new.** One.\n\n### Fixed\n\n- This is new. Two.\n- That.\n")
    assert repeated(twice) == ["this is new."]


def test_readme_fits_on_one_screen():
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= 60


def test_api_page_is_generated_from_the_crds():
    subprocess.run(
        [sys.executable, str(CHECKOUT / "docs" / "generate-api.py"), "--check"], check=True
    )


def test_pictures_are_those_that_the_script_makes_and_pages_show_them():
    """`docs/screenshots.py` makes them again."""
    script = ast.parse((CHECKOUT / "docs" / "screenshots.py").read_text())
    constants = {one.targets[0].id: one.value for one in script.body if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)}
    made = set(ast.literal_eval(constants["PICTURES"]))
    assert made == {path.name for path in (CHECKOUT / "docs" / "images").glob("*.png")}
    shown = {page: set(PICTURE.findall(page.read_text())) for page in PAGES}
    in_guide, in_readme = shown[CHECKOUT / "docs" / "page.md"], shown[CHECKOUT / "README.md"]
    assert in_guide == {f"images/{picture}" for picture in made}
    assert in_readme == {"docs/images/page-fleet-light.png"}
    # A picture that somebody cannot see says what it shows.
    assert not [page for page in PAGES if "![](" in page.read_text()]


def test_exactly_the_existing_reasons_are_explained():
    source = (CHECKOUT / "src" / "api" / "conditions.rs").read_text()
    text = (CHECKOUT / "docs" / "troubleshooting.md").read_text()
    reasons = enum_texts(source, "Reason")
    explained = set(re.findall(r"`([A-Z]\w+)`", "\n".join(re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE))))
    types = enum_texts(source, "ConditionType")
    assert reasons - explained == set(), "reasons without a line in docs/troubleshooting.md"
    assert explained - reasons - types == set(), "docs/troubleshooting.md explains reasons that do not exist"


def enum_texts(source: str, enum: str) -> set[str]:
    """The texts of an enum's `as_str`."""
    start = source.index(f"impl {enum} {{")
    body = source[start : source.index("\n}", start)]
    return set(re.findall(r'=> "(\w+)"', body))


@every_page
def test_named_metrics_exist(page):
    source = "".join(p.read_text() for p in (CHECKOUT / "src" / "telemetry").rglob("*.rs"))
    for line in code(page):
        for metric in re.findall(r"\bkeelson_((?!aws\b|harness)[a-z_]+)", line):
            stem = re.sub(r"_(total|seconds|count|sum|bucket)$", "", metric)
            stem = re.sub(r"_seconds$", "", stem)
            assert f'"{stem}"' in source, f"{name(page)}: keelson_{metric}"


SAFETY = (CHECKOUT / "docs" / "safety.md").read_text()
SECURITY = (CHECKOUT / "docs" / "security.md").read_text()
NAMED_TEST = re.compile(r"`([\w./-]+\.(?:py|rs))::(\w+)`")


@pytest.mark.parametrize("page", [SAFETY, SECURITY], ids=["safety", "security"])
def test_safety_and_security_name_tests(page):
    assert len(NAMED_TEST.findall(page)) > 20


@pytest.mark.parametrize("page", [page for page in GUIDES if page.name not in ("README.md", "tutorial.md")], ids=name)
def test_each_guide_states_what_was_tested(page):
    tested = page.read_text().partition("\n## Tested\n")[2]
    assert NAMED_TEST.search(tested), f"{name(page)} names no test"


@every_page
def test_named_tests_exist(page):
    for path, test in NAMED_TEST.findall(page.read_text()):
        source = (CHECKOUT / path).read_text()
        assert re.search(rf"\b(?:def|fn) {test}\(", source), f"{path} has no {test}"


def test_each_promise_names_its_test():
    # The section on the proof for each deletion is tested as a whole, by tests/architecture.rs.
    promises = re.sub(r"^## By what proof.*?(?=^## )", "", SAFETY, flags=re.MULTILINE | re.DOTALL)
    rows = [row for row in promises.splitlines() if row.startswith("| ") and not row.startswith("| promise")]
    assert [row for row in rows if "::" not in row and "held by" not in row] == []


def test_summary_is_short_and_links_each_sentence_to_tested_promises():
    short = re.search(r"^## In short.*?(?=^## )", SAFETY, re.MULTILINE | re.DOTALL)[0]
    sentences = re.split(r"^- ", short, flags=re.MULTILINE)[1:]
    assert 8 <= len(sentences) <= 12
    rows = {anchor: row for row in SAFETY.splitlines() for anchor in re.findall(r'^\| <a id="([\w-]+)"></a>', row)}
    for sentence in sentences:
        linked = re.findall(r"\[promise\]\(#([\w-]+)\)", sentence)
        assert linked and all("::" in rows[anchor] for anchor in linked), sentence
    assert {anchor for s in sentences for anchor in re.findall(r"\(#([\w-]+)\)", s)} == set(rows)


def test_no_promise_is_listed_twice():
    # The last table repeats promises from the perspective of incidents.
    promises = SAFETY.partition("## What users of other tools lost")[0]
    rows = [row.split("|") for row in promises.splitlines() if row.startswith("| ") and "::" in row]
    assert len(rows) > 80
    for column, why in ((1, "the same words"), (2, "the same tests")):
        cells = [row[column].strip() for row in rows if column == 1 or row[column].count("::") > 1]
        assert len(cells) == len(set(cells)), f"two promises have {why}: merge them"


def test_each_attack_names_its_test():
    tables = re.search(r"^## A tenant.*?(?=^## Whoever)", SECURITY, re.MULTILINE | re.DOTALL)[0]
    rows = [row for row in tables.splitlines() if row.startswith("| ") and not row.startswith("| tries to")]
    assert len(rows) > 15
    assert [row for row in rows if "::" not in row] == []


def test_each_file_of_tests_has_a_row_that_says_what_it_shows():
    folder = CHECKOUT / "e2e" / "tests"
    rows = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("| `test_") or line.startswith("| `attacks/")]
    named = {name for row in rows for name in re.findall(r"`([a-z_/]+\.py)`", row.split(" | ")[0])}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("test_*.py")}
    assert (files - named, named - files) == (set(), set()), "left: without a row in e2e/tests/README.md, right: rows without a file"


def test_promises_hide_their_tests():
    """So that the tables read as promises: the tests of a promise are one click away."""
    rows = [row for row in SAFETY.splitlines() if row.startswith("| ") and "::" in row]
    tests = [cell for row in rows if (cell := next(cell for cell in row.split(" | ") if "::" in cell))]
    unfolded = [cell for cell in tests if not re.match(r"<details><summary>(\d+) tests?</summary>", cell)]
    assert unfolded == []
    for cell in tests:
        assert int(re.search(r"<summary>(\d+)", cell)[1]) == cell.count("::"), cell


def test_demo_chapters_on_the_page_match_the_demo():
    demo = (CHECKOUT / "e2e" / "harness" / "keelson_harness" / "demo.py").read_text()
    chapters = re.findall(r"^== (.+)$", (CHECKOUT / "docs" / "demo.md").read_text(), re.MULTILINE)
    assert chapters
    assert [chapter for chapter in chapters if f'"{chapter}"' not in demo] == []


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """What `make docs` builds, in strict mode: a link, an anchor or a page of the navigation that is missing fails it."""
    folder = tmp_path_factory.mktemp("site")
    venv = CHECKOUT / "e2e" / "harness" / "venv.sh"
    requirements = CHECKOUT / "docs" / "site" / "requirements.txt"
    python = subprocess.run([venv, requirements], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    command = [python, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert built.returncode == 0, built.stdout
    return folder


class Loaded(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses += [value for value in [found.get("src")] if value]
        if tag == "link" and set((found.get("rel") or "").split()) & {"stylesheet", "icon", "preload", "preconnect", "modulepreload"}:
            self.addresses.append(found["href"])


def test_site_loads_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        for address in Loaded(page.read_text()).addresses:
            assert not re.match(r"([a-z]+:)?//", address), f"{page.name}: {address}"
            if page.name != "404.html":
                assert (page.parent / address).exists(), f"{page.name}: {address}"


def test_site_contains_every_page_and_draws_every_diagram(site):
    for page in (CHECKOUT / "docs").rglob("*.md"):
        path = page.relative_to(CHECKOUT / "docs").with_suffix(".html")
        built = (site / path.with_name("index.html") if page.name == "README.md" else site / path).read_text()
        assert built.count('<div class="diagram"><svg') == page.read_text().count("```mermaid"), page


def test_site_has_a_search_index_of_all_pages(site):
    index = (site / "search" / "search_index.js").read_text()
    assert "how-to/cluster-access.html" in index and "safety.html" in index
