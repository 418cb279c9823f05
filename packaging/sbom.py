#!/usr/bin/env python3
"""Prints the list of what is in the program (CycloneDX 1.5, JSON): every crate that is linked into it, with version, licence, source
and digest, as Cargo.lock and `cargo metadata` have it. The same commit prints the same bytes.

usage: sbom.py REPOSITORY TARGET
"""

import json
import subprocess
import sys
import tomllib
import uuid

root, target = sys.argv[1:3]
command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
metadata = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
with open(f"{root}/Cargo.lock", "rb") as lock:
    digests = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(lock)["package"]}
top = next(p["id"] for p in metadata["packages"] if p["name"] == "lamplighter" and p["source"] is None)


def linked(node_id):
    """What ends up in the program: neither build scripts' nor tests' dependencies."""
    for dependency in nodes[node_id]["deps"]:
        if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
            yield dependency["pkg"]


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


seen, waiting = {}, [top]
while waiting:
    node_id = waiting.pop()
    if node_id not in seen:
        seen[node_id] = sorted(set(linked(node_id)))
        waiting += seen[node_id]


def component(package):
    entry = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package["license"]:
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    digest = digests.get((package["name"], package["version"]))
    if digest:
        entry["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if package["repository"]:
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


by_reference = {reference(packages[i]): i for i in seen}
others = [reference_ for reference_ in sorted(by_reference) if by_reference[reference_] != top]
main = component(packages[top])
main["type"] = "application"
document = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "serialNumber": "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(others))),
    "version": 1,
    "metadata": {"component": main},
    "components": [component(packages[by_reference[r]]) for r in others],
    "dependencies": [
        {"ref": r, "dependsOn": sorted(reference(packages[d]) for d in seen[by_reference[r]])} for r in sorted(by_reference)
    ],
}
json.dump(document, sys.stdout, indent=1)
print()
