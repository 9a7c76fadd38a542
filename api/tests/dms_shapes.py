"""Checks every answer of a server against botocore's own model of the service.

botocore ignores members that it does not know and trusts the types of those that it does; this does neither. Attach it
to a client with `watch(client)`; `Watcher.problems` then lists what does not fit, and `Watcher.checked` counts answers.
"""

import json


# The model knows one source type; the service has sent the other one for years (user guide, "Working with events").
NOT_IN_THE_MODEL = {("SourceType", "replication-task")}


class Watcher:
    def __init__(self, client, secrets):
        self.client = client
        self.secrets = [secret for secret in secrets if len(secret) >= 6]
        self.problems = []
        self.checked = 0
        self.operations = set()

    def see(self, http_response, operation, **_):
        body = http_response["body"].decode() if isinstance(http_response["body"], bytes) else http_response["body"]
        headers = {name.lower(): value for name, value in http_response["headers"].items()}
        self.checked += 1
        self.operations.add(operation.name)
        if "x-amzn-requestid" not in headers:
            self.problem(operation, "has no x-amzn-RequestId")
        if headers.get("content-type") != "application/x-amz-json-1.1":
            self.problem(operation, f"has the content type {headers.get('content-type')}")
        if any(secret in body for secret in self.secrets):
            self.problem(operation, "holds a password")
        value = json.loads(body)
        if http_response["status_code"] == 200:
            self.check(operation, operation.output_shape, value, operation.name)
        else:
            self.check_fault(operation, value)

    def check_fault(self, operation, value):
        if not isinstance(value.get("__type"), str) or not isinstance(value.get("message"), str):
            self.problem(operation, f"a fault without __type and message: {value}")
        elif value["__type"].endswith("Fault") and value["__type"] not in operation.service_model.shape_names:
            self.problem(operation, f"{value['__type']} is no fault of the model")

    def check(self, operation, shape, value, path):
        kind = shape.type_name
        if kind == "structure":
            if not isinstance(value, dict):
                return self.problem(operation, f"{path} is not an object")
            for name, member in value.items():
                if name not in shape.members:
                    self.problem(operation, f"{path}.{name} is not in the model")
                else:
                    self.check(operation, shape.members[name], member, f"{path}.{name}")
        elif kind == "list":
            if not isinstance(value, list):
                return self.problem(operation, f"{path} is not a list")
            for index, item in enumerate(value):
                self.check(operation, shape.member, item, f"{path}[{index}]")
        elif kind == "string":
            if not isinstance(value, str):
                self.problem(operation, f"{path} is not a string: {value!r}")
            elif shape.enum and value not in shape.enum and (path.rpartition(".")[2], value) not in NOT_IN_THE_MODEL:
                self.problem(operation, f"{path} is {value!r}, the model has {shape.enum}")
        elif kind == "boolean":
            if not isinstance(value, bool):
                self.problem(operation, f"{path} is not a boolean: {value!r}")
        elif kind in ("integer", "long"):
            if isinstance(value, bool) or not isinstance(value, int):
                self.problem(operation, f"{path} is not a whole number: {value!r}")
        elif kind in ("timestamp", "double", "float"):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self.problem(operation, f"{path} is not a number: {value!r}")
        else:
            self.problem(operation, f"{path} has the type {kind}, which no answer should need")

    def problem(self, operation, text):
        self.problems.append(f"{operation.name}: {text}")


def watch(client, secrets=()):
    """Looks at every answer that the client gets from now on."""
    watcher = Watcher(client, secrets)

    def before_parse(operation_model, response_dict, **_):
        watcher.see(response_dict, operation_model)

    client.meta.events.register("before-parse.database-migration-service", before_parse)
    return watcher
