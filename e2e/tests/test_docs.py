"""The docs are true: links resolve, commands, flags, files and metrics exist, output that is shown is what comes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from keelson_harness.paths import CHECKOUT, keelson_binary

PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    CHECKOUT / "e2e" / "README.md",
    *sorted((CHECKOUT / "e2e").glob("*/README.md")),
    CHECKOUT / "examples" / "fleet" / "README.md",
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
# Folders of the checkout: a path in the docs that begins with one of these must exist.
TOPS = ("crds", "deploy", "docs", "e2e", "examples", "src", "tests", ".github")
# Lines of output that stand for any number of others.
ELLIPSIS = "..."


def name(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def code(page: Path) -> Iterator[str]:
    """Each line of code: of blocks, and between backticks."""
    text = page.read_text()
    for _, block in BLOCK.findall(text):
        yield from block.splitlines()
    yield from (span.strip() for span in SPAN.findall(BLOCK.sub("", text)))
    # Indented blocks, as the pages under e2e/ have them.
    yield from (line.strip() for line in BLOCK.sub("", text).splitlines() if line.startswith("    "))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings, and those that are given by hand."""
    text = BLOCK.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in plain} | set(re.findall(r'<a id="([\w-]+)"></a>', text))


@every_page
def test_links_resolve(page):
    for target in LINK.findall(BLOCK.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
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
def test_files_that_are_named_exist(page):
    for line in code(page):
        for path in re.findall(r"(?<![\w./~$}-])((?:[\w.-]+/)+[\w.*-]*)", line):
            if path.split("/")[0] not in TOPS:
                continue
            plain = path.rstrip("./") if path.endswith(("/", ".")) else path
            # Pages of e2e/ and deploy/ name files from where they lie, too.
            found = any(list(base.glob(plain)) for base in (CHECKOUT, page.parent))
            assert found, f"{name(page)}: {path}"


def keelson(*arguments: str) -> str:
    """Standard output. A binary that needs AWS or a cluster for this would fail here."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(
        [keelson_binary(), *arguments],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"keelson {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each `keelson ...` and `cargo run -- ...`."""
    for line in code(page):
        if found := re.match(r"(?:\$ )?(?:keelson|cargo run --) ([a-z].*)", line):
            yield found[1].split()


@every_page
def test_verbs_and_flags_of_keelson_exist(page):
    for verb, *arguments in commands(page):
        text = keelson(verb, "--help")
        for argument in arguments:
            flag = argument.partition("=")[0]
            if flag.startswith("-"):
                assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text), f"{verb} {flag}"


def test_the_table_of_flags_is_all_flags():
    text = (CHECKOUT / "docs" / "install.md").read_text()
    table = text[text.index("## 4. Flags") : text.index("## 5.")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `--")]
    told = {flag for row in rows for flag in FLAG.findall(row)}
    there = set(FLAG.findall(keelson("controller", "--help"))) - {"--help"}
    assert told == there


def test_flags_in_manifests_exist():
    deployment = yaml.safe_load((CHECKOUT / "deploy" / "deployment.yaml").read_text())
    verb, *arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    there = FLAG.findall(keelson(verb, "--help"))
    assert {argument.partition("=")[0] for argument in arguments} <= set(there)


def shown() -> list:
    """Commands of ours in `console` blocks, each with the output that is shown under it."""
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


@pytest.mark.parametrize(("command", "output"), shown())
def test_output_that_is_shown_is_what_comes(command, output):
    lines = [
        r"(?:.*\n)*?" if line.strip() == ELLIPSIS else re.escape(line.rstrip()) + r"[ ]*\n"
        for line in output.rstrip().splitlines()
    ]
    real = keelson(*command.split()[1:])
    assert re.fullmatch("".join(lines), real.rstrip() + "\n"), real


def test_the_readme_shows_its_output():
    """The test above has something to compare."""
    commands_shown = {parameter.values[0] for parameter in shown()}
    assert "keelson plan -f examples/minimal.yaml" in commands_shown


def test_the_manifest_in_the_readme_is_the_example():
    example = (CHECKOUT / "examples" / "minimal.yaml").read_text()
    blocks = [block for kind, block in BLOCK.findall((CHECKOUT / "README.md").read_text()) if kind == "yaml"]
    assert example in blocks


def test_the_api_page_is_what_the_crds_say():
    subprocess.run(
        [sys.executable, str(CHECKOUT / "docs" / "generate-api.py"), "--check"], check=True
    )


def test_every_reason_is_explained_and_no_other():
    source = (CHECKOUT / "src" / "api" / "conditions.rs").read_text()
    text = (CHECKOUT / "docs" / "troubleshooting.md").read_text()
    reasons = enumerated(source, "Reason")
    explained = set(re.findall(r"`([A-Z]\w+)`", "\n".join(re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE))))
    types = enumerated(source, "ConditionType")
    assert reasons - explained == set(), "reasons without a line in docs/troubleshooting.md"
    assert explained - reasons - types == set(), "docs/troubleshooting.md explains what there is not"


def enumerated(source: str, enum: str) -> set[str]:
    """The texts of an enum's `as_str`."""
    start = source.index(f"impl {enum} {{")
    body = source[start : source.index("\n}", start)]
    return set(re.findall(r'=> "(\w+)"', body))


@every_page
def test_metrics_that_are_named_exist(page):
    source = "".join(p.read_text() for p in (CHECKOUT / "src" / "telemetry").glob("*.rs"))
    for line in code(page):
        for metric in re.findall(r"\bkeelson_((?!aws\b|harness)[a-z_]+)", line):
            stem = re.sub(r"_(total|seconds|count|sum|bucket)$", "", metric)
            stem = re.sub(r"_seconds$", "", stem)
            assert f'"{stem}"' in source, f"{name(page)}: keelson_{metric}"


SAFETY = (CHECKOUT / "docs" / "safety.md").read_text()
SECURITY = (CHECKOUT / "docs" / "security.md").read_text()


@pytest.mark.parametrize("page", [SAFETY, SECURITY], ids=["safety", "security"])
def test_each_test_that_holds_a_promise_exists(page):
    named = re.findall(r"`([\w./-]+\.(?:py|rs))::(\w+)`", page)
    assert len(named) > 20
    for path, test in named:
        source = (CHECKOUT / path).read_text()
        assert re.search(rf"\b(?:def|fn) {test}\(", source), f"{path} has no {test}"


def test_each_promise_names_the_test_that_holds_it():
    # What each deletion goes by is held as a whole, by tests/architecture.rs.
    promises = re.sub(r"^## By what proof.*?(?=^## )", "", SAFETY, flags=re.MULTILINE | re.DOTALL)
    rows = [row for row in promises.splitlines() if row.startswith("| ") and not row.startswith("| promise")]
    assert [row for row in rows if "::" not in row and "held by" not in row] == []


def test_the_short_page_is_short_and_each_sentence_leads_to_promises_with_tests():
    short = re.search(r"^## In short.*?(?=^## )", SAFETY, re.MULTILINE | re.DOTALL)[0]
    sentences = re.split(r"^- ", short, flags=re.MULTILINE)[1:]
    assert 8 <= len(sentences) <= 12
    rows = {anchor: row for row in SAFETY.splitlines() for anchor in re.findall(r'^\| <a id="([\w-]+)"></a>', row)}
    for sentence in sentences:
        led_to = re.findall(r"\[promise\]\(#([\w-]+)\)", sentence)
        assert led_to and all("::" in rows[anchor] for anchor in led_to), sentence
    assert {anchor for s in sentences for anchor in re.findall(r"\(#([\w-]+)\)", s)} == set(rows)


def test_no_promise_stands_twice():
    # The last table tells the same from the side of those who lost something.
    promises = SAFETY.partition("## What users of other tools lost")[0]
    rows = [row.split("|") for row in promises.splitlines() if row.startswith("| ") and "::" in row]
    assert len(rows) > 80
    for column, why in ((1, "the same words"), (2, "the same tests")):
        cells = [row[column].strip() for row in rows if column == 1 or row[column].count("::") > 1]
        assert len(cells) == len(set(cells)), f"{why} hold two promises: merge them"


def test_each_attack_names_the_test_that_stops_it():
    tables = re.search(r"^## A tenant.*?(?=^## Whoever)", SECURITY, re.MULTILINE | re.DOTALL)[0]
    rows = [row for row in tables.splitlines() if row.startswith("| ") and not row.startswith("| tries to")]
    assert len(rows) > 15
    assert [row for row in rows if "::" not in row] == []


def test_the_chapters_of_the_demo_that_the_readme_shows_are_those_it_tells():
    told = (CHECKOUT / "e2e" / "harness" / "keelson_harness" / "demo.py").read_text()
    chapters = re.findall(r"^== (.+)$", (CHECKOUT / "README.md").read_text(), re.MULTILINE)
    assert chapters
    assert [chapter for chapter in chapters if f'"{chapter}"' not in told] == []
