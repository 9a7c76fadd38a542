"""Drives the main job with an unmodified boto3, from endpoints to deletion.

Exit code 0 when everything was as AWS DMS would have it, 1 with one line that says what was not, 2 for wrong arguments.
The databases and the server are the caller's; tables of --schema are copied from source to target.
"""

import argparse
import json
import subprocess
import sys
import time
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from dms_shapes import watch

NEVER_STARTED = "Start Type : START_REPLICATION, valid only for replications running for the first time"


class Failed(Exception):
    pass


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="the server, for example http://127.0.0.1:8080")
    for side, engine in (("source", "postgres"), ("target", "postgres")):
        parser.add_argument(f"--{side}-engine", default=engine)
        parser.add_argument(f"--{side}-host", default="127.0.0.1")
        parser.add_argument(f"--{side}-port", type=int, required=True)
        parser.add_argument(f"--{side}-user", required=True)
        parser.add_argument(f"--{side}-password", default="")
        parser.add_argument(f"--{side}-database", default="")
        parser.add_argument(f"--{side}-ssl-mode", default="none")
    parser.add_argument("--schema", required=True, help="schema (database) of the source whose tables are copied")
    parser.add_argument("--rename-schema", default="", help="schema in the target, by a transformation rule")
    parser.add_argument("--expect", action="append", default=[], metavar="TABLE=ROWS", help="rows that the load must report")
    parser.add_argument("--reload", default="", metavar="TABLE", help="loads this table again while the replication runs")
    parser.add_argument("--while-running", default="", metavar="COMMAND", help="a shell command, run when the load is done; must succeed")
    parser.add_argument("--provisioned", action="store_true", help="runs a provisioned task and its waiters, too")
    parser.add_argument("--timeout", type=float, default=120, help="seconds that any one step may take")
    return parser.parse_args()


def connect(url):
    # No retries: a 500 must be seen, not hidden.
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
    return boto3.client(
        "dms", endpoint_url=url, region_name="eu-central-1", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="any", config=config
    )


class MainJob:
    def __init__(self, options):
        self.options = options
        self.client = connect(options.url)
        self.watcher = watch(self.client, [options.source_password, options.target_password])
        self.tag = uuid.uuid4().hex[:8]
        rules = [self.rule("1", "selection", "include", {"schema-name": options.schema, "table-name": "%"})]
        if options.rename_schema:
            rename = self.rule("2", "transformation", "rename", {"schema-name": options.schema})
            rules.append({**rename, "rule-target": "schema", "value": options.rename_schema})
        self.mappings = json.dumps({"rules": rules})

    @staticmethod
    def rule(number, kind, action, locator):
        return {"rule-type": kind, "rule-id": number, "rule-name": number, "rule-action": action, "object-locator": locator}

    def run(self):
        self.describe_account()
        instance = self.create_instance()
        source = self.create_endpoint("source")
        target = self.create_endpoint("target")
        for endpoint in (source, target):
            self.test_connection(instance, endpoint)
        self.list_schemas(instance, source)
        self.keep_certificate()
        self.replicate(source, target)
        if self.options.provisioned:
            self.replicate_provisioned(instance, source, target)
        self.delete_endpoints([source, target])
        self.delete_instance(instance)
        if self.watcher.problems:
            raise Failed("answers do not fit the model: " + "; ".join(sorted(set(self.watcher.problems))))
        say(f"{self.watcher.checked} answers of {len(self.watcher.operations)} operations fit the model")

    def describe_account(self):
        quotas = self.client.describe_account_attributes()["AccountQuotas"]
        expect("quota Endpoints", True, any(quota["AccountQuotaName"] == "Endpoints" for quota in quotas))
        pages = self.client.get_paginator("describe_endpoint_types").paginate()
        engines = {kind["EngineName"] for page in pages for kind in page["SupportedEndpointTypes"]}
        expect("engines", True, {"postgres", "mysql", "mariadb"} <= engines)

    def create_instance(self):
        identifier = f"ri-{self.tag}"
        made = self.client.create_replication_instance(
            ReplicationInstanceIdentifier=identifier, ReplicationInstanceClass="dms.t3.medium", AllocatedStorage=50
        )
        arn = made["ReplicationInstance"]["ReplicationInstanceArn"]
        self.wait("replication_instance_available", "replication-instance-arn", arn)
        changed = self.client.modify_replication_instance(ReplicationInstanceArn=arn, AllocatedStorage=60, ApplyImmediately=True)
        expect("storage", 60, changed["ReplicationInstance"]["AllocatedStorage"])
        return arn

    def create_endpoint(self, side):
        option = lambda name: getattr(self.options, f"{side}_{name}")
        request = {
            "EndpointIdentifier": f"{side}-{self.tag}",
            "EndpointType": side,
            "EngineName": option("engine"),
            "ServerName": option("host"),
            "Port": option("port"),
            "Username": option("user"),
            "Password": option("password"),
            "SslMode": option("ssl_mode"),
            "Tags": [{"Key": "run", "Value": self.tag}],
        }
        if option("database"):
            request["DatabaseName"] = option("database")
        endpoint = self.client.create_endpoint(**request)["Endpoint"]
        expect("endpoint status", "active", endpoint["Status"])
        self.refused("ResourceAlreadyExistsFault", self.client.create_endpoint, **request)
        filters = [{"Name": "endpoint-id", "Values": [request["EndpointIdentifier"]]}]
        found = self.client.describe_endpoints(Filters=filters)["Endpoints"]
        expect("endpoint by its id", [endpoint["EndpointArn"]], [other["EndpointArn"] for other in found])
        tags = self.client.list_tags_for_resource(ResourceArn=endpoint["EndpointArn"])["TagList"]
        expect("tags", [{"Key": "run", "Value": self.tag}], tags)
        arn = endpoint["EndpointArn"]
        self.client.add_tags_to_resource(ResourceArn=arn, Tags=[{"Key": "more", "Value": ""}])
        self.client.remove_tags_from_resource(ResourceArn=arn, TagKeys=["run", "more"])
        expect("removed tags", [], self.client.list_tags_for_resource(ResourceArn=arn)["TagList"])
        changed = self.client.modify_endpoint(EndpointArn=arn, ExtraConnectionAttributes="executeTimeout=90")["Endpoint"]
        expect("changed endpoint", ("executeTimeout=90", option("host")), (changed["ExtraConnectionAttributes"], changed["ServerName"]))
        return arn

    def test_connection(self, instance, endpoint):
        self.client.test_connection(ReplicationInstanceArn=instance, EndpointArn=endpoint)
        self.wait("test_connection_succeeds", "endpoint-arn", endpoint)
        self.client.delete_connection(ReplicationInstanceArn=instance, EndpointArn=endpoint)
        self.client.test_connection(ReplicationInstanceArn=instance, EndpointArn=endpoint)
        self.wait("test_connection_succeeds", "endpoint-arn", endpoint)

    def list_schemas(self, instance, endpoint):
        self.client.refresh_schemas(EndpointArn=endpoint, ReplicationInstanceArn=instance)

        def refreshed():
            status = self.client.describe_refresh_schemas_status(EndpointArn=endpoint)["RefreshSchemasStatus"]
            if status["Status"] == "failed":
                raise Failed(f"schemas cannot be refreshed: {status.get('LastFailureMessage')}")
            return status["Status"] == "successful", status["Status"]

        self.until("refreshed schemas", refreshed)
        schemas = [name for page in self.client.get_paginator("describe_schemas").paginate(EndpointArn=endpoint) for name in page["Schemas"]]
        expect(f"schema {self.options.schema} in {schemas}", True, self.options.schema in schemas)

    def keep_certificate(self):
        pem = "-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n"
        made = self.client.import_certificate(CertificateIdentifier=f"ca-{self.tag}", CertificatePem=pem)["Certificate"]
        arn = made["CertificateArn"]
        found = self.client.describe_certificates(Filters=[{"Name": "certificate-arn", "Values": [arn]}])["Certificates"]
        expect("certificates", [pem], [certificate["CertificatePem"] for certificate in found])
        self.client.delete_certificate(CertificateArn=arn)

    def replicate(self, source, target):
        identifier = f"Job-{self.tag}"
        config = self.client.create_replication_config(
            ReplicationConfigIdentifier=identifier,
            SourceEndpointArn=source,
            TargetEndpointArn=target,
            ReplicationType="full-load-and-cdc",
            ComputeConfig={"MinCapacityUnits": 1, "MaxCapacityUnits": 4},
            TableMappings=self.mappings,
            ReplicationSettings=json.dumps({"FullLoadSettings": {"TargetTablePrepMode": "DROP_AND_CREATE", "MaxFullLoadSubTasks": 4}}),
            Tags=[{"Key": "run", "Value": self.tag}],
        )["ReplicationConfig"]
        arn = config["ReplicationConfigArn"]
        expect("identifier", identifier, config["ReplicationConfigIdentifier"])
        expect("table mappings", self.mappings, config["TableMappings"])
        settings = json.loads(config["ReplicationSettings"])
        expect("merged settings", (4, 10000), (settings["FullLoadSettings"]["MaxFullLoadSubTasks"], settings["FullLoadSettings"]["CommitRate"]))
        expect("status before the start", "created", self.replication(arn)["Status"])
        self.refused("InvalidResourceStateFault", self.client.delete_endpoint, EndpointArn=source)
        self.refused("InvalidParameterCombinationException", self.start, arn, "resume-processing")

        self.start(arn, "start-replication")
        self.refused("InvalidResourceStateFault", self.start, arn, "start-replication")
        self.until("a running replication with all tables loaded", lambda: self.loaded(arn))
        self.check_tables(self.table_statistics(arn))
        if self.options.while_running:
            subprocess.run(self.options.while_running, shell=True, check=True, timeout=self.options.timeout)
        if self.options.reload:
            tables = [{"SchemaName": self.options.schema, "TableName": self.options.reload}]
            self.client.reload_replication_tables(ReplicationConfigArn=arn, TablesToReload=tables)
            self.until("the reloaded table", lambda: self.loaded(arn))

        self.client.stop_replication(ReplicationConfigArn=arn)
        self.until("a stopped replication", lambda: self.has_status(arn, "stopped"))
        expect("stop reason", "Stop Reason NORMAL", self.replication(arn)["StopReason"])
        refusal = self.refused("InvalidParameterCombinationException", self.start, arn, "start-replication")
        expect("start rule", True, NEVER_STARTED in refusal)
        self.start(arn, "resume-processing")
        self.until("a resumed replication", lambda: self.has_status(arn, "running"))
        self.client.stop_replication(ReplicationConfigArn=arn)
        self.until("a stopped replication", lambda: self.has_status(arn, "stopped"))
        self.client.modify_replication_config(ReplicationConfigArn=arn, ComputeConfig={"MaxCapacityUnits": 8})
        filters = [{"Name": "replication-config-id", "Values": [identifier]}]
        changed = self.client.describe_replication_configs(Filters=filters)["ReplicationConfigs"]
        expect("changed capacity", [8], [config["ComputeConfig"]["MaxCapacityUnits"] for config in changed])
        self.client.describe_events(SourceType="replication-task", Duration=60)
        self.client.delete_replication_config(ReplicationConfigArn=arn)
        self.until("a deleted replication config", lambda: self.is_gone(arn))
        say("serverless: loaded, ran, stopped, resumed, stopped, deleted")

    def start(self, arn, kind):
        return self.client.start_replication(ReplicationConfigArn=arn, StartReplicationType=kind)

    def replication(self, arn):
        filters = [{"Name": "replication-config-arn", "Values": [arn]}]
        return self.client.describe_replications(Filters=filters)["Replications"][0]

    def has_status(self, arn, wanted):
        found = self.replication(arn)
        if found["Status"] == "failed":
            raise Failed(f"the replication failed: {found.get('FailureMessages')}")
        return found["Status"] == wanted, found["Status"]

    def loaded(self, arn):
        runs, status = self.has_status(arn, "running")
        stats = self.replication(arn)["ReplicationStats"]
        if stats["TablesErrored"]:
            raise Failed(f"tables failed: {self.replication(arn)['FailureMessages']}")
        return runs and stats["FullLoadProgressPercent"] == 100, (status, stats)

    def table_statistics(self, arn):
        # botocore has no paginator for this operation.
        rows, marker = [], {}
        while True:
            page = self.client.describe_replication_table_statistics(ReplicationConfigArn=arn, MaxRecords=20, **marker)
            rows.extend(page["ReplicationTableStatistics"])
            if "Marker" not in page:
                return rows
            marker = {"Marker": page["Marker"]}

    def check_tables(self, rows):
        found = {row["TableName"]: row for row in rows}
        for text in self.options.expect:
            table, _, count = text.partition("=")
            if table not in found:
                raise Failed(f"table {table} is not in the statistics, found {sorted(found)}")
            state = (found[table]["TableState"], found[table]["FullLoadRows"])
            expect(f"table {table}", ("Table completed", int(count)), state)

    def is_gone(self, arn):
        filters = [{"Name": "replication-config-arn", "Values": [arn]}]
        try:
            found = self.client.describe_replications(Filters=filters)["Replications"][0]
            if found["Status"] == "failed":
                raise Failed(f"the deletion failed: {found.get('FailureMessages')}")
            return False, found["Status"]
        except self.client.exceptions.ResourceNotFoundFault:
            return True, "gone"

    def replicate_provisioned(self, instance, source, target):
        task = self.client.create_replication_task(
            ReplicationTaskIdentifier=f"task-{self.tag}",
            SourceEndpointArn=source,
            TargetEndpointArn=target,
            ReplicationInstanceArn=instance,
            MigrationType="full-load-and-cdc",
            TableMappings=self.mappings,
        )["ReplicationTask"]
        arn = task["ReplicationTaskArn"]
        self.wait("replication_task_ready", "replication-task-arn", arn)
        self.client.modify_replication_task(ReplicationTaskArn=arn, TableMappings=self.mappings)
        self.client.start_replication_task(ReplicationTaskArn=arn, StartReplicationTaskType="start-replication")
        self.wait("replication_task_running", "replication-task-arn", arn)
        self.until("tables in the task's statistics", lambda: self.task_tables(arn))
        if self.options.reload:
            tables = [{"SchemaName": self.options.schema, "TableName": self.options.reload}]
            self.client.reload_tables(ReplicationTaskArn=arn, TablesToReload=tables)
        self.client.stop_replication_task(ReplicationTaskArn=arn)
        self.wait("replication_task_stopped", "replication-task-arn", arn)
        self.client.delete_replication_task(ReplicationTaskArn=arn)
        self.wait("replication_task_deleted", "replication-task-arn", arn)
        say("provisioned: ready, running, stopped, deleted")

    def task_tables(self, arn):
        pages = self.client.get_paginator("describe_table_statistics").paginate(ReplicationTaskArn=arn)
        states = {row["TableName"]: row["TableState"] for page in pages for row in page["TableStatistics"]}
        return states and set(states.values()) == {"Table completed"}, states

    def delete_endpoints(self, arns):
        for arn in arns:
            expect("status of a deleted endpoint", "deleting", self.client.delete_endpoint(EndpointArn=arn)["Endpoint"]["Status"])
            self.wait("endpoint_deleted", "endpoint-arn", arn)

    def delete_instance(self, arn):
        self.refused("ResourceNotFoundFault", self.client.describe_connections, Filters=[{"Name": "replication-instance-arn", "Values": [arn]}])
        self.client.delete_replication_instance(ReplicationInstanceArn=arn)
        self.wait("replication_instance_deleted", "replication-instance-arn", arn)

    def wait(self, name, filter_name, arn):
        settings = {"Delay": 1, "MaxAttempts": max(1, int(self.options.timeout))}
        try:
            self.client.get_waiter(name).wait(Filters=[{"Name": filter_name, "Values": [arn]}], WaiterConfig=settings)
        except WaiterError as error:
            raise Failed(f"waiter {name}: {error}; last answer {error.last_response}") from error

    def until(self, what, check):
        deadline = time.monotonic() + self.options.timeout
        while True:
            done, seen = check()
            if done:
                return
            if time.monotonic() > deadline:
                raise Failed(f"waited {self.options.timeout:.0f} s for {what}, last seen {seen}")
            time.sleep(0.1)

    def refused(self, code, operation, *args, **kwargs):
        """Calls the operation, which must be refused with this code; the message is returned."""
        try:
            operation(*args, **kwargs)
        except ClientError as error:
            expect("fault", code, error.response["Error"]["Code"])
            return error.response["Error"]["Message"]
        raise Failed(f"{getattr(operation, '__name__', operation)} was accepted, wanted {code}")


def expect(what, wanted, found):
    if wanted != found:
        raise Failed(f"{what}: wanted {wanted!r}, found {found!r}")


def say(text):
    print(text, file=sys.stderr)


def main():
    try:
        MainJob(arguments()).run()
    except (Failed, BotoCoreError, ClientError, subprocess.SubprocessError) as error:
        say(f"FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
