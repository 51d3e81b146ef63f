"""Reads Prometheus' text format from standard input, as Prometheus' own library
for Python does: a JSON line for each sample."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(json.dumps({
            "name": sample.name,
            "labels": sample.labels,
            "value": sample.value,
            "type": family.type,
            "help": family.documentation,
        }))
