"""Reads YAML files with PyYAML, which goes by YAML 1.1; prints the documents of each as JSON."""

import json
import sys

import yaml

documents = {}
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        documents[path] = [it for it in yaml.safe_load_all(file) if it is not None]
# A timestamp or a binary value has no JSON: json.dumps fails on it.
print(json.dumps(documents))
