"""Writes the policies of deploy/iam-*.json into keelson-role.cfn.yaml: `make chart`. CloudFormation reads no other local files.

Terraform reads the files themselves.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TEMPLATE = FOLDER / "keelson-role.cfn.yaml"
# A line that names the file; its policy follows, more indented.
POLICY = re.compile(r"^( *)PolicyDocument: # deploy/(iam-[\w-]+\.json)\n(?:\1 .*\n)*", re.MULTILINE)


def with_policies(text: str) -> str:
    """The template with the current policies."""

    def replace(found: re.Match[str]) -> str:
        indent, name = found[1], found[2]
        policy = json.loads((FOLDER.parent / name).read_text())
        statements = "".join(f"{indent}    - {json.dumps(statement)}\n" for statement in policy["Statement"])
        head = f'{indent}PolicyDocument: # deploy/{name}\n{indent}  Version: "{policy["Version"]}"\n'
        return f"{head}{indent}  Statement:\n{statements}"

    return POLICY.sub(replace, text)


if __name__ == "__main__":
    current = TEMPLATE.read_text()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if with_policies(current) == current else f"{TEMPLATE.name}: outdated, run `make chart`")
    TEMPLATE.write_text(with_policies(current))
