#!/usr/bin/env python3
"""Checks an ARM template without Azure: names of properties and values of enumerations against the models of Azure's own SDK, and what
the template says about itself: parameters and variables that exist and are used, dependencies on resources that exist.

usage: check.py TEMPLATE     (with the packages of `tests/support/install.sh template`)
Exit code 1, one line each, if something is wrong.
"""

import enum
import importlib
import json
import re
import sys
import typing

# resource type -> module of models, class
MODELS = {
    "Microsoft.Compute/virtualMachineScaleSets": ("azure.mgmt.compute.models", "VirtualMachineScaleSet"),
    "Microsoft.Network/networkSecurityGroups": ("azure.mgmt.network.models", "NetworkSecurityGroup"),
    "Microsoft.Network/publicIPAddresses": ("azure.mgmt.network.models", "PublicIPAddress"),
    "Microsoft.Network/natGateways": ("azure.mgmt.network.models", "NatGateway"),
    "Microsoft.Network/virtualNetworks": ("azure.mgmt.network.models", "VirtualNetwork"),
    "Microsoft.Network/loadBalancers": ("azure.mgmt.network.models", "LoadBalancer"),
    "Microsoft.Network/privateEndpoints": ("azure.mgmt.network.models", "PrivateEndpoint"),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": ("azure.mgmt.network.models", "PrivateDnsZoneGroup"),
    "Microsoft.Network/privateDnsZones": ("azure.mgmt.privatedns.models", "PrivateZone"),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": ("azure.mgmt.privatedns.models", "VirtualNetworkLink"),
    "Microsoft.DBforMySQL/flexibleServers": ("azure.mgmt.mysqlflexibleservers.models", "Server"),
    "Microsoft.DBforMySQL/flexibleServers/administrators": ("azure.mgmt.mysqlflexibleservers.models", "AzureADAdministrator"),
    "Microsoft.DBforMySQL/flexibleServers/configurations": ("azure.mgmt.mysqlflexibleservers.models", "Configuration"),
    "Microsoft.Cache/redisEnterprise": ("azure.mgmt.redisenterprise.models", "Cluster"),
    "Microsoft.Cache/redisEnterprise/databases": ("azure.mgmt.redisenterprise.models", "Database"),
    "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments": ("azure.mgmt.redisenterprise.models", "AccessPolicyAssignment"),
    "Microsoft.Storage/storageAccounts": ("azure.mgmt.storage.models", "StorageAccountCreateParameters"),
    "Microsoft.Storage/storageAccounts/blobServices": ("azure.mgmt.storage.models", "BlobServiceProperties"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": ("azure.mgmt.storage.models", "BlobContainer"),
    "Microsoft.ManagedIdentity/userAssignedIdentities": ("azure.mgmt.msi.models", "Identity"),
    "Microsoft.OperationalInsights/workspaces": ("azure.mgmt.loganalytics.models", "Workspace"),
    "Microsoft.Insights/autoscaleSettings": ("azure.mgmt.monitor.models", "AutoscaleSettingResource"),
    "Microsoft.Insights/actionGroups": ("azure.mgmt.monitor.models", "ActionGroupResource"),
    "Microsoft.Insights/metricAlerts": ("azure.mgmt.monitor.models", "MetricAlertResource"),
    "Microsoft.Insights/diagnosticSettings": ("azure.mgmt.monitor.models", "DiagnosticSettingsResource"),
    "Microsoft.Authorization/roleAssignments": ("azure.mgmt.authorization.models", "RoleAssignmentCreateParameters"),
}
OF_TEMPLATE = {"type", "apiVersion", "dependsOn", "condition", "copy", "scope", "name", "location", "comments"}


def old_style(cls):
    """JSON path -> type as text, of models with a table `_attribute_map`."""
    table = {}
    for base in reversed(cls.__mro__):
        table.update(getattr(base, "_attribute_map", {}))
    return {entry["key"].replace("\\.", "\0"): entry["type"] for entry in table.values()}


def new_style(cls):
    """JSON name -> annotation as text, of models with typed fields."""
    fields = {}
    for base in reversed(cls.__mro__):
        for name, field in vars(base).items():
            if type(field).__name__ == "_RestField":
                fields[getattr(field, "_rest_name_input", None) or name] = str(base.__annotations__.get(name, ""))
    return fields


def shape(cls, module):
    """JSON name -> (name of a model class or None, names of classes that may be enumerations)."""
    result = {}
    if getattr(cls, "_attribute_map", None):
        for path, kind in old_style(cls).items():
            # a map's keys are anybody's
            names = [] if kind.startswith("{") else re.findall(r"\w+", kind)
            first, _, rest = path.partition(".")
            if rest:
                result.setdefault(first.replace("\0", "."), {}).update({rest: names})
            else:
                result[first.replace("\0", ".")] = names
        return result
    for name, kind in new_style(cls).items():
        # what is flattened in Python is nested on the wire already
        result[name] = re.findall(r"\w+", kind)
    return result


def unknown(value, cls, module, path):
    # a model that stands for several says which by a property
    for subtypes in getattr(cls, "_subtype_map", {}).values():
        for name in value.values():
            if isinstance(name, str) and name in subtypes:
                cls = getattr(module, subtypes[name])
    for key, kind in kinds(value, shape(cls, module), path):
        if kind is None:
            yield f"no such property: {key[0]}"
        else:
            yield from inside(key[1], kind, module, key[0])


def kinds(value, known, path):
    for key, item in value.items():
        here = f"{path}.{key}"
        if key in OF_TEMPLATE and path.count(".") <= 2:
            continue
        kind = known.get(key)
        if kind is None and not known:
            continue
        if isinstance(kind, dict) and isinstance(item, dict):
            yield from kinds(item, {k: v for k, v in nested(kind).items()}, here)
        else:
            yield (here, item), kind


def nested(flat):
    tree = {}
    for path, names in flat.items():
        first, _, rest = path.partition(".")
        if rest:
            tree.setdefault(first, {}).update({rest: names})
        else:
            tree[first] = names
    return tree


def inside(item, names, module, path):
    classes = [getattr(module, name) for name in names if isinstance(getattr(module, name, None), type)]
    enums = [cls for cls in classes if issubclass(cls, enum.Enum)]
    models = [cls for cls in classes if not issubclass(cls, enum.Enum) and (hasattr(cls, "_attribute_map") or new_style(cls))]
    if isinstance(item, str) and enums and not item.startswith("["):
        values = {str(v.value).lower() for cls in enums for v in cls}
        if item.lower() not in values:
            yield f"no such value: {path} = {item!r} (one of {', '.join(sorted(values))})"
    for entry, where in ([(item, path)] if not isinstance(item, list) else [(e, f"{path}[{i}]") for i, e in enumerate(item)]):
        if isinstance(entry, dict) and models and "Dict" not in names and "dict" not in names and "Mapping" not in names:
            # several models: one that knows every name is enough
            complaints = [list(unknown(entry, cls, module, where)) for cls in models]
            yield from min(complaints, key=len)


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def of_the_template(template):
    rest = {key: template[key] for key in ("variables", "resources", "outputs")}
    text = "\n".join(text for text in strings(rest) if text.startswith("["))
    for kind in ("parameters", "variables"):
        used = set(re.findall(kind + r"\('(\w+)'\)", text))
        for name in used - set(template[kind]):
            yield f"{kind}('{name}') does not exist"
        for name in set(template[kind]) - used:
            yield f"{kind}('{name}') is never used"
    types = {resource["type"] for resource in template["resources"]}
    for resource in template["resources"]:
        for dependency in resource.get("dependsOn", []):
            match = re.match(r"\[resourceId\('([^']+)'", dependency)
            if not match or match.group(1) not in types:
                yield f"{resource['type']} depends on what is not there: {dependency}"
        if text.count("[") and any(t.count("(") != t.count(")") for t in strings(resource) if t.startswith("[")):
            yield f"{resource['type']} {resource['name']}: brackets do not match"
        if re.search(r"(?i)(password|secret|key)\s*[:=]\s*[a-z0-9+/]{16,}", json.dumps(resource)):
            yield f"{resource['type']} {resource['name']}: looks like a secret"


def main():
    with open(sys.argv[1]) as file:
        template = json.load(file)
    bad = list(of_the_template(template))
    for resource in template["resources"]:
        if resource["type"] not in MODELS:
            bad.append(f"{resource['type']}: add its model to {sys.argv[0]}")
            continue
        name, cls = MODELS[resource["type"]]
        module = importlib.import_module(name)
        bad += unknown(resource, getattr(module, cls), module, resource["type"])
    print("\n".join(bad) or f"{len(template['resources'])} resources, nothing wrong")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
