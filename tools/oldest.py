"""Print the oldest versions that pyproject.toml allows of what fastbp and its tests need."""

import tomllib
from pathlib import Path

# What has no lower bound is the newest that goes with those; pip does not see it of PyArrow.
OLD_ENOUGH = {"pyarrow": "pyarrow<20"}

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
for requirement in project["dependencies"] + project["optional-dependencies"]["test"]:
    print(OLD_ENOUGH.get(requirement, requirement.replace(">=", "==")))
