//! The DMS wire protocol as bytes: requests against the router, with a fake host behind the catalog.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its client, too")]

mod dms_host;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use dms_host::{FakeHost, TABLES};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// How long a test waits for what the host does.
const PATIENCE: Duration = Duration::from_secs(20);
/// Must never be in an answer.
const PASSWORD: &str = "canary-4711";
const MAPPINGS: &str = r#"{ "rules": [{"rule-type":"selection","rule-id":"1","rule-name":"all","rule-action":"include","object-locator":{"schema-name":"shop","table-name":"%"}}]}"#;
const SIGNATURE: &str =
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-central-1/dms/aws4_request, SignedHeaders=host, Signature=00ff";

/// A client of one fake host.
struct Client {
    router: Router,
    host: FakeHost,
}

impl Client {
    async fn new() -> Self {
        let host = FakeHost::start().await;
        Self { router: tidegate_api::dms::router(host.state.clone()), host }
    }

    async fn raw(&self, target: Option<&str>, body: &str) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::post("/").header("content-type", "application/x-amz-json-1.1").header("authorization", SIGNATURE);
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(!text.contains(PASSWORD), "an answer holds the password: {text}");
        (parts.status, parts.headers, serde_json::from_str(&text).unwrap())
    }

    async fn ok(&self, operation: &str, body: Value) -> Value {
        let (status, _, answer) = self.raw(Some(&format!("AmazonDMSv20160101.{operation}")), &body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{operation}: {answer}");
        answer
    }

    /// The fault's code and message.
    async fn fault(&self, operation: &str, body: Value) -> (String, String) {
        let (status, _, answer) = self.raw(Some(&format!("AmazonDMSv20160101.{operation}")), &body.to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{operation}: {answer}");
        (answer["__type"].as_str().unwrap().to_owned(), answer["message"].as_str().unwrap().to_owned())
    }

    async fn check_fault(&self, operation: &str, body: Value, code: &str, words: &str) {
        let (found, message) = self.fault(operation, body).await;
        assert!(found == code && message.contains(words), "{operation}: wanted {code} with \"{words}\", found {found}: {message}");
    }

    async fn endpoint(&self, name: &str, side: &str, host: &str) -> String {
        let body = json!({"EndpointIdentifier": name, "EndpointType": side, "EngineName": "postgres", "ServerName": host, "Port": 5432,
            "Username": "u", "Password": PASSWORD, "DatabaseName": "d"});
        text(&self.ok("CreateEndpoint", body).await["Endpoint"]["EndpointArn"])
    }

    async fn instance(&self) -> String {
        let body = json!({"ReplicationInstanceIdentifier": "Ri", "ReplicationInstanceClass": "dms.t3.medium"});
        text(&self.ok("CreateReplicationInstance", body).await["ReplicationInstance"]["ReplicationInstanceArn"])
    }

    /// A config `name` of this type between two new endpoints; the source has this host name.
    async fn config(&self, name: &str, kind: &str, host: &str) -> String {
        let source = self.endpoint(&format!("{name}-s"), "source", host).await;
        let target = self.endpoint(&format!("{name}-t"), "target", "db.test").await;
        let answer = self.ok("CreateReplicationConfig", config_body(name, kind, &source, &target)).await;
        text(&answer["ReplicationConfig"]["ReplicationConfigArn"])
    }

    async fn start(&self, arn: &str, kind: &str) -> Value {
        self.ok("StartReplication", json!({"ReplicationConfigArn": arn, "StartReplicationType": kind})).await["Replication"].clone()
    }

    async fn replication(&self, arn: &str) -> Value {
        let filters = json!([{"Name": "replication-config-arn", "Values": [arn]}]);
        self.ok("DescribeReplications", json!({ "Filters": filters })).await["Replications"][0].clone()
    }

    /// Asks, and again whenever the host has written something, until the answer is `Ok`; panics with the last one seen.
    async fn wait_for<T>(&self, what: &str, mut condition: impl AsyncFnMut() -> Result<T, Value>) -> T {
        let mut news = self.host.state.catalog.news();
        let mut seen = Value::Null;
        let waiting = async {
            loop {
                news.mark_unchanged();
                match condition().await {
                    Ok(value) => return value,
                    Err(other) => seen = other,
                }
                news.changed().await.expect("the catalog is open");
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("waited {} s for {what}; last seen: {seen}", PATIENCE.as_secs()))
    }

    /// Waits until the replication is as wanted, and fails with the last one seen.
    async fn until(&self, arn: &str, status: &str) -> Value {
        self.wait_for(status, async || with_status(self.replication(arn).await, status)).await
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn with_status(seen: Value, status: &str) -> Result<Value, Value> {
    if seen["Status"] == status { Ok(seen) } else { Err(seen) }
}

fn config_body(name: &str, kind: &str, source: &str, target: &str) -> Value {
    json!({"ReplicationConfigIdentifier": name, "SourceEndpointArn": source, "TargetEndpointArn": target, "ReplicationType": kind,
        "TableMappings": MAPPINGS, "ComputeConfig": {"MaxCapacityUnits": 8}})
}

#[tokio::test]
async fn protocol_errors_have_a_type_and_a_message() {
    let client = Client::new().await;
    let cases = [
        (None, "{}", "UnknownOperationException"),
        (Some("AmazonDMSv20160101.Nonsense"), "{}", "UnknownOperationException"),
        (Some("DynamoDB_20120810.ListTables"), "{}", "UnknownOperationException"),
        (Some("AmazonDMSv20160101.DescribeEndpoints"), "{", "SerializationException"),
        (Some("AmazonDMSv20160101.DescribeEndpoints"), r#"{"MaxRecords":"x"}"#, "SerializationException"),
        (Some("AmazonDMSv20160101.CreateEndpoint"), r#"{"Password":["canary-4711"]}"#, "SerializationException"),
        (Some("AmazonDMSv20160101.DescribeFleetAdvisorDatabases"), "{}", "InvalidOperationFault"),
    ];
    for (target, body, code) in cases {
        let (status, headers, answer) = client.raw(target, body).await;
        assert_eq!((status, answer["__type"].as_str()), (StatusCode::BAD_REQUEST, Some(code)), "{target:?} {body}");
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()));
        assert_eq!(headers["content-type"], "application/x-amz-json-1.1");
        assert_eq!(headers["x-amzn-requestid"].len(), 36);
    }
    let (_, message) = client.fault("DescribeFleetAdvisorDatabases", json!({})).await;
    assert!(message.contains("DescribeFleetAdvisorDatabases"));
}

#[tokio::test]
async fn empty_body_is_an_empty_request_and_signatures_are_not_needed() {
    let client = Client::new().await;
    let request = Request::post("/").header("x-amz-target", "AmazonDMSv20160101.DescribeEndpoints").body(Body::empty()).unwrap();
    let response = client.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn main_job_runs_from_endpoints_to_deletion() {
    let client = Client::new().await;
    let arn = client.config("Shop-To-Lake", "full-load-and-cdc", "db.test").await;
    assert!(arn.starts_with("arn:aws:dms:eu-central-1:123456789012:replication-config:"), "{arn}");
    let created = client.replication(&arn).await;
    assert_eq!((&created["Status"], &created["ReplicationConfigIdentifier"]), (&json!("created"), &json!("Shop-To-Lake")));

    let started = client.start(&arn, "start-replication").await;
    assert_eq!(started["Status"], "initializing");
    client
        .check_fault(
            "StartReplication",
            json!({"ReplicationConfigArn": arn, "StartReplicationType": "start-replication"}),
            "InvalidResourceStateFault",
            "cannot start",
        )
        .await;
    client
        .check_fault("DeleteReplicationConfig", json!({"ReplicationConfigArn": arn}), "InvalidResourceStateFault", "cannot be deleted")
        .await;
    let running = loop {
        let seen = client.until(&arn, "running").await;
        if seen["ReplicationStats"]["FullLoadProgressPercent"] == 100 && seen["RecoveryCheckpoint"].is_string() {
            break seen;
        }
    };
    assert_eq!(running["ReplicationStats"]["TablesLoaded"], TABLES.len());
    assert_eq!(running["ProvisionData"]["ProvisionedCapacityUnits"], 2);
    assert!(running["StopReason"].is_null());

    let page = client.ok("DescribeReplicationTableStatistics", json!({"ReplicationConfigArn": arn})).await;
    let orders = page["ReplicationTableStatistics"].as_array().unwrap().iter().find(|table| table["TableName"] == "orders").unwrap();
    assert_eq!((&orders["FullLoadRows"], &orders["TableState"]), (&json!(100), &json!("Table completed")));
    let tables = json!([{"SchemaName": "shop", "TableName": "orders"}]);
    client.ok("ReloadReplicationTables", json!({"ReplicationConfigArn": arn, "TablesToReload": tables})).await;
    let unknown = json!([{"SchemaName": "shop", "TableName": "nothing"}]);
    client
        .check_fault(
            "ReloadReplicationTables",
            json!({"ReplicationConfigArn": arn, "TablesToReload": unknown}),
            "ResourceNotFoundFault",
            "shop.nothing",
        )
        .await;

    assert_eq!(client.ok("StopReplication", json!({"ReplicationConfigArn": arn})).await["Replication"]["Status"], "stopping");
    assert_eq!(client.until(&arn, "stopped").await["StopReason"], "Stop Reason NORMAL");
    client
        .check_fault(
            "StartReplication",
            json!({"ReplicationConfigArn": arn, "StartReplicationType": "start-replication"}),
            "InvalidParameterCombinationException",
            "Start Type : START_REPLICATION, valid only for replications running for the first time",
        )
        .await;
    assert_eq!(client.start(&arn, "resume-processing").await["StartReplicationType"], "resume-processing");
    client.until(&arn, "running").await;
    client.ok("StopReplication", json!({"ReplicationConfigArn": arn})).await;
    client.until(&arn, "stopped").await;
    client.ok("DeleteReplicationConfig", json!({"ReplicationConfigArn": arn})).await;
    let filters = json!({"Filters": [{"Name": "replication-config-arn", "Values": [arn]}]});
    let removed = async || match client.host.state.catalog.list_tasks().await.unwrap().len() {
        0 => Ok(()),
        tasks => Err(json!(tasks)),
    };
    client.wait_for("the config to be removed", removed).await;
    client.check_fault("DescribeReplicationConfigs", filters, "ResourceNotFoundFault", "No Replication Configs found").await;
    let events = client.ok("DescribeEvents", json!({"SourceType": "replication-task"})).await;
    assert_eq!(events["Events"][0]["Message"], "task started");
}

#[tokio::test]
async fn full_load_stops_by_itself_and_a_failed_run_tells_why() {
    let client = Client::new().await;
    let load = client.config("load", "full-load", "db.test").await;
    client.start(&load, "start-replication").await;
    let stopped = client.until(&load, "stopped").await;
    assert_eq!(stopped["StopReason"], "Stop Reason FULL_LOAD_ONLY_FINISHED");
    assert_eq!(stopped["ReplicationStats"]["FullLoadProgressPercent"], 100);

    let broken = client.config("broken", "cdc", "unreachable.test").await;
    client.start(&broken, "start-replication").await;
    let failed = client.until(&broken, "failed").await;
    assert_eq!(failed["FailureMessages"], json!(["server \"unreachable.test\" cannot be reached; start the server"]));
    assert_eq!(failed["StopReason"], "Stop Reason FATAL_ERROR");
}

#[tokio::test]
async fn connections_and_schemas_are_asked_of_the_host() {
    let client = Client::new().await;
    let instance = client.instance().await;
    let good = client.endpoint("good", "source", "db.test").await;
    let bad = client.endpoint("bad", "source", "unreachable.test").await;
    for (endpoint, wanted) in [(&good, "successful"), (&bad, "failed")] {
        let asked = client.ok("TestConnection", json!({"ReplicationInstanceArn": instance, "EndpointArn": endpoint})).await;
        // The host may have answered already.
        assert!(["testing", wanted].iter().any(|status| asked["Connection"]["Status"] == *status), "{asked}");
        let filters = json!({"Filters": [{"Name": "endpoint-arn", "Values": [endpoint]}]});
        let tested = async || with_status(client.ok("DescribeConnections", filters.clone()).await["Connections"][0].clone(), wanted);
        let connection = client.wait_for(wanted, tested).await;
        assert_eq!(connection["LastFailureMessage"].is_string(), wanted == "failed");
    }
    client.ok("RefreshSchemas", json!({"ReplicationInstanceArn": instance, "EndpointArn": good})).await;
    assert_eq!(client.ok("DescribeSchemas", json!({"EndpointArn": good})).await["Schemas"], json!(["public", "shop"]));
    let status = client.ok("DescribeRefreshSchemasStatus", json!({"EndpointArn": good})).await;
    assert_eq!(status["RefreshSchemasStatus"]["Status"], "successful");
    client.check_fault("DescribeSchemas", json!({"EndpointArn": bad}), "InvalidResourceStateFault", "cannot be reached").await;

    let gone = client.ok("DeleteConnection", json!({"ReplicationInstanceArn": instance, "EndpointArn": bad})).await;
    assert_eq!(gone["Connection"]["Status"], "deleting");
    client.ok("DeleteReplicationInstance", json!({"ReplicationInstanceArn": instance})).await;
    assert_eq!(client.ok("DescribeConnections", json!({})).await["Connections"], json!([]));
}

#[tokio::test]
async fn endpoints_take_their_login_from_either_place_and_never_show_the_password() {
    let client = Client::new().await;
    let body = json!({"EndpointIdentifier": "Lake", "EndpointType": "source", "EngineName": "aurora-postgresql", "SslMode": "require",
        "ExtraConnectionAttributes": "slotName=x;heartbeatEnable=true", "Tags": [{"Key": "team", "Value": "shop"}], "ResourceIdentifier": "My-Id",
        "PostgreSQLSettings": {"ServerName": "db.test", "Port": 6000, "Username": "u", "Password": PASSWORD, "DatabaseName": "d", "SlotName": "s"}});
    let endpoint = client.ok("CreateEndpoint", body.clone()).await["Endpoint"].clone();
    let wanted = json!({"EndpointIdentifier": "Lake", "EndpointType": "source", "EngineName": "aurora-postgresql", "EngineDisplayName": "Amazon Aurora PostgreSQL",
        "ServerName": "db.test", "Port": 6000, "Username": "u", "DatabaseName": "d", "SslMode": "require", "Status": "active",
        "ExtraConnectionAttributes": "slotName=x;heartbeatEnable=true", "EndpointArn": "arn:aws:dms:eu-central-1:123456789012:endpoint:My-Id",
        "IsReadOnly": false, "PostgreSQLSettings": {"ServerName": "db.test", "Port": 6000, "Username": "u", "DatabaseName": "d", "SlotName": "s"}});
    assert_eq!(endpoint, wanted);
    let stored = client.host.state.catalog.get_endpoint("lake").await.unwrap();
    assert_eq!(stored.spec.password.reveal(), PASSWORD);
    assert!(!stored.spec.dms.to_string().contains(PASSWORD));
    client.check_fault("CreateEndpoint", body, "ResourceAlreadyExistsFault", "lake").await;

    let arn = &endpoint["EndpointArn"];
    let change = json!({"EndpointArn": arn, "Port": 6001, "PostgreSQLSettings": {"HeartbeatEnable": true}});
    let changed = client.ok("ModifyEndpoint", change).await["Endpoint"].clone();
    assert_eq!((&changed["Port"], &changed["PostgreSQLSettings"]["SlotName"]), (&json!(6001), &json!("s")));
    let exact = json!({"EndpointArn": arn, "ExactSettings": true, "PostgreSQLSettings": {"HeartbeatEnable": true}});
    assert_eq!(client.ok("ModifyEndpoint", exact).await["Endpoint"]["PostgreSQLSettings"], json!({"HeartbeatEnable": true}));
    assert_eq!(client.host.state.catalog.get_endpoint("lake").await.unwrap().spec.password.reveal(), PASSWORD);

    let tags = client.ok("ListTagsForResource", json!({"ResourceArn": arn})).await;
    assert_eq!(tags["TagList"], json!([{"Key": "team", "Value": "shop"}]));
    client.ok("AddTagsToResource", json!({"ResourceArn": arn, "Tags": [{"Key": "a", "Value": "b"}]})).await;
    client.ok("RemoveTagsFromResource", json!({"ResourceArn": arn, "TagKeys": ["team"]})).await;
    let tags = client.ok("ListTagsForResource", json!({"ResourceArnList": [arn]})).await;
    assert_eq!(tags["TagList"], json!([{"Key": "a", "Value": "b", "ResourceArn": arn}]));

    assert_eq!(client.ok("DeleteEndpoint", json!({"EndpointArn": arn})).await["Endpoint"]["Status"], "deleting");
    client.check_fault("DeleteEndpoint", json!({"EndpointArn": arn}), "ResourceNotFoundFault", "not found").await;
}

#[tokio::test]
async fn certificate_becomes_the_authority_of_an_endpoint() {
    let client = Client::new().await;
    let pem = "-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n";
    let import = json!({"CertificateIdentifier": "Ca", "CertificatePem": pem});
    let arn = text(&client.ok("ImportCertificate", import.clone()).await["Certificate"]["CertificateArn"]);
    client.check_fault("ImportCertificate", import, "ResourceAlreadyExistsFault", "ca").await;
    let broken = json!({"CertificateIdentifier": "b", "CertificatePem": "x"});
    client.check_fault("ImportCertificate", broken, "InvalidCertificateFault", "PEM blocks").await;

    let endpoint = client.endpoint("e", "source", "db.test").await;
    let change = json!({"EndpointArn": endpoint, "SslMode": "verify-ca", "CertificateArn": arn});
    assert_eq!(client.ok("ModifyEndpoint", change).await["Endpoint"]["CertificateArn"], json!(arn));
    let stored = client.host.state.catalog.get_endpoint("e").await.unwrap();
    assert_eq!(stored.spec.tls.authorities_pem.as_deref(), Some(pem));
    client.check_fault("DeleteCertificate", json!({"CertificateArn": arn}), "InvalidResourceStateFault", "used by endpoint e").await;

    client.ok("ModifyEndpoint", json!({"EndpointArn": endpoint, "CertificateArn": ""})).await;
    assert_eq!(client.host.state.catalog.get_endpoint("e").await.unwrap().spec.tls.authorities_pem, None);
    client.ok("DeleteCertificate", json!({"CertificateArn": arn})).await;
    let gone = json!({"Filters": [{"Name": "certificate-arn", "Values": [arn]}]});
    client.check_fault("DescribeCertificates", gone, "ResourceNotFoundFault", "No Certificates").await;
}

#[tokio::test]
async fn wrong_values_are_refused_by_name() {
    let client = Client::new().await;
    let endpoint = json!({"EndpointIdentifier": "e", "EndpointType": "source", "EngineName": "mysql", "ServerName": "h", "Username": "u", "Password": PASSWORD});
    let with = |base: &Value, key: &str, value: Value| {
        let mut body = base.clone();
        body[key] = value;
        body
    };
    let value = "InvalidParameterValueException";
    let cases = [
        ("EngineName", json!("oracle"), "The engine oracle is not supported"),
        ("EndpointType", json!("both"), "EndpointType must be source or target"),
        ("EndpointIdentifier", json!("1e"), "EndpointIdentifier must begin with a letter"),
        ("EndpointIdentifier", json!(null), "The parameter EndpointIdentifier must be provided"),
        ("ServerName", json!(""), "The parameter ServerName must be provided"),
        ("Port", json!(70000), "Port must be between 1 and 65535"),
        ("SslMode", json!("prefer"), "SslMode must be none, require"),
        ("ExtraConnectionAttributes", json!("canary-4711"), "ExtraConnectionAttributes must have the form"),
        ("ExtraConnectionAttributes", json!("Password=canary-4711"), "must not hold secrets"),
        ("Tags", json!([{"Key": "aws:x", "Value": "y"}]), "Tag key must have"),
        ("ResourceIdentifier", json!("a_b"), "ResourceIdentifier must begin"),
        ("EngineName", json!("postgres"), "The parameter DatabaseName must be provided"),
    ];
    for (key, found, words) in cases {
        client.check_fault("CreateEndpoint", with(&endpoint, key, found), value, words).await;
    }

    let source = client.endpoint("s", "source", "db.test").await;
    let target = client.endpoint("t", "target", "db.test").await;
    let config = config_body("c", "cdc", &source, &target);
    let cases = [
        ("ReplicationType", json!("load"), "Invalid ReplicationType"),
        ("TableMappings", json!("{"), "Error in mapping rules. "),
        ("ComputeConfig", json!({"MaxCapacityUnits": 3}), "ComputeConfig.MaxCapacityUnits must be one of"),
        ("ComputeConfig", json!({}), "ComputeConfig.MaxCapacityUnits must be provided"),
        ("ReplicationSettings", json!(r#"{"FullLoadSettings":{"TargetTablePrepMode":"x"}}"#), "FullLoadSettings.TargetTablePrepMode"),
        ("SourceEndpointArn", json!("shop"), "Invalid ARN in SourceEndpointArn"),
    ];
    for (key, found, words) in cases {
        client.check_fault("CreateReplicationConfig", with(&config, key, found), value, words).await;
    }
    let swapped = config_body("c", "cdc", &target, &source);
    client
        .check_fault("CreateReplicationConfig", swapped, "InvalidParameterCombinationException", "SourceEndpointArn must be a source")
        .await;
    let missing = with(&config, "SourceEndpointArn", json!("arn:aws:dms:eu-central-1:123456789012:endpoint:NONE"));
    client.check_fault("CreateReplicationConfig", missing, "ResourceNotFoundFault", "NONE not found").await;
    assert!(client.host.state.catalog.list_tasks().await.unwrap().is_empty());

    client.check_fault("DescribeEndpoints", json!({"MaxRecords": 5}), value, "MaxRecords must be between 20 and 100").await;
    client.check_fault("DescribeEndpoints", json!({"Marker": "x"}), value, "Invalid Marker").await;
    client
        .check_fault("DescribeEndpoints", json!({"Filters": [{"Name": "colour", "Values": ["x"]}]}), value, "Invalid filter name colour")
        .await;
    let nothing = json!({"Filters": [{"Name": "endpoint-id", "Values": ["none"]}]});
    client.check_fault("DescribeEndpoints", nothing, "ResourceNotFoundFault", "No Endpoints found matching provided filters").await;
}

#[tokio::test]
async fn settings_and_mappings_come_back_and_reach_the_catalog() {
    let client = Client::new().await;
    let source = client.endpoint("s", "source", "db.test").await;
    let target = client.endpoint("t", "target", "db.test").await;
    let mut body = config_body("Copy", "full-load", &source, &target);
    body["ReplicationSettings"] = json!(r#"{"FullLoadSettings":{"TargetTablePrepMode":"DO_NOTHING","MaxFullLoadSubTasks":3}}"#);
    body["ComputeConfig"] = json!({"MinCapacityUnits": 2, "MaxCapacityUnits": 16, "MultiAZ": false});
    let config = client.ok("CreateReplicationConfig", body.clone()).await["ReplicationConfig"].clone();
    assert_eq!(config["TableMappings"], MAPPINGS);
    assert_eq!(config["ComputeConfig"], json!({"MinCapacityUnits": 2, "MaxCapacityUnits": 16, "MultiAZ": false}));
    let settings: Value = serde_json::from_str(config["ReplicationSettings"].as_str().unwrap()).unwrap();
    assert_eq!(settings["FullLoadSettings"]["TargetTablePrepMode"], "DO_NOTHING");
    assert_eq!(settings["ErrorBehavior"]["TableErrorPolicy"], "SUSPEND_TABLE");
    assert!(config["ReplicationConfigCreateTime"].as_f64().unwrap() > 1.0e9);

    let task = client.host.state.catalog.get_task("copy").await.unwrap();
    assert_eq!((task.definition.preparation.as_str(), &task.definition.settings["load_lanes"]), ("do-nothing", &json!(3)));
    assert_eq!((task.definition.min_units, task.definition.max_units), (2, 16));
    body["ReplicationConfigIdentifier"] = json!("COPY");
    client.check_fault("CreateReplicationConfig", body, "ResourceAlreadyExistsFault", "COPY").await;
    client.check_fault("DeleteEndpoint", json!({"EndpointArn": source}), "InvalidResourceStateFault", "copy").await;

    let change = json!({"ReplicationConfigArn": config["ReplicationConfigArn"], "ReplicationType": "cdc",
        "ReplicationSettings": r#"{"FullLoadSettings":{"MaxFullLoadSubTasks":5},"ResyncSettings":{"EnableResync":true}}"#, "ComputeConfig": {"MaxCapacityUnits": 1}});
    let changed = client.ok("ModifyReplicationConfig", change).await["ReplicationConfig"].clone();
    let settings: Value = serde_json::from_str(changed["ReplicationSettings"].as_str().unwrap()).unwrap();
    assert_eq!(settings["FullLoadSettings"]["TargetTablePrepMode"], "DO_NOTHING");
    assert_eq!(settings["FullLoadSettings"]["MaxFullLoadSubTasks"], 5);
    let told = client.host.state.catalog.list_events(&tidegate_catalog::EventFilter::default(), 100).await.unwrap();
    assert!(told.iter().any(|event| event.message.starts_with("settings without effect: ResyncSettings.EnableResync (")), "{told:?}");
    assert_eq!((&changed["ReplicationType"], &changed["ComputeConfig"]["MaxCapacityUnits"]), (&json!("cdc"), &json!(1)));

    let start = json!({"ReplicationConfigArn": config["ReplicationConfigArn"], "StartReplicationType": "start-replication", "CdcStartPosition": "0/16B3748"});
    client.ok("StartReplication", start).await;
    assert_eq!(client.host.state.catalog.get_task("copy").await.unwrap().definition.start_position.as_deref(), Some("postgres:0/16B3748"));
}

#[tokio::test]
async fn provisioned_task_runs_on_the_same_catalog_task() {
    let client = Client::new().await;
    let (source, target) = (client.endpoint("s", "source", "db.test").await, client.endpoint("t", "target", "db.test").await);
    let instance = client.instance().await;
    let body = json!({"ReplicationTaskIdentifier": "Task-1", "SourceEndpointArn": source, "TargetEndpointArn": target, "ReplicationInstanceArn": instance,
        "MigrationType": "full-load-and-cdc", "TableMappings": MAPPINGS});
    let task = client.ok("CreateReplicationTask", body).await["ReplicationTask"].clone();
    assert_eq!((&task["Status"], &task["ReplicationInstanceArn"]), (&json!("ready"), &json!(instance)));
    let arn = text(&task["ReplicationTaskArn"]);
    client
        .check_fault("DeleteReplicationInstance", json!({"ReplicationInstanceArn": instance}), "InvalidResourceStateFault", "Task-1")
        .await;
    client
        .check_fault(
            "DescribeReplications",
            json!({"Filters": [{"Name": "replication-config-id", "Values": ["Task-1"]}]}),
            "ResourceNotFoundFault",
            "No Replications",
        )
        .await;
    let resume = json!({"ReplicationTaskArn": arn, "StartReplicationTaskType": "resume-processing"});
    client.check_fault("StartReplicationTask", resume, "InvalidParameterCombinationException", "RESUME_PROCESSING").await;

    let started =
        client.ok("StartReplicationTask", json!({"ReplicationTaskArn": arn, "StartReplicationTaskType": "start-replication"})).await;
    assert_eq!(started["ReplicationTask"]["Status"], "starting");
    let until = async |status: &str| {
        let filters = json!({"WithoutSettings": true, "Filters": [{"Name": "replication-task-arn", "Values": [arn]}]});
        let described = async || {
            let seen = client.ok("DescribeReplicationTasks", filters.clone()).await["ReplicationTasks"][0].clone();
            assert!(seen["ReplicationTaskSettings"].is_null());
            with_status(seen, status)
        };
        client.wait_for(status, described).await
    };
    until("running").await;
    let modify = json!({"ReplicationTaskArn": arn, "MigrationType": "cdc"});
    client.check_fault("ModifyReplicationTask", modify, "InvalidResourceStateFault", "cannot be modified while it is running state").await;
    let tables = client.ok("DescribeTableStatistics", json!({"ReplicationTaskArn": arn, "MaxRecords": 500})).await;
    assert_eq!(tables["TableStatistics"].as_array().unwrap().len(), TABLES.len());
    client.ok("ReloadTables", json!({"ReplicationTaskArn": arn, "TablesToReload": [{"SchemaName": "shop", "TableName": "orders"}]})).await;
    client.ok("StopReplicationTask", json!({"ReplicationTaskArn": arn})).await;
    assert_eq!(until("stopped").await["StopReason"], "Stop Reason NORMAL");
    let deleted = client.ok("DeleteReplicationTask", json!({"ReplicationTaskArn": arn})).await;
    assert_eq!(deleted["ReplicationTask"]["Status"], "deleting");
}

#[tokio::test]
async fn markers_lead_through_all_endpoints() {
    let client = Client::new().await;
    for index in 0..25 {
        client.endpoint(&format!("e{index}"), "source", "db.test").await;
    }
    let first = client.ok("DescribeEndpoints", json!({"MaxRecords": 20})).await;
    let second = client.ok("DescribeEndpoints", json!({"MaxRecords": 20, "Marker": first["Marker"]})).await;
    let count = |page: &Value| page["Endpoints"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second), &second["Marker"]), (20, 5, &Value::Null));
    let types = client.ok("DescribeEndpointTypes", json!({"Filters": [{"Name": "endpoint-type", "Values": ["target"]}]})).await;
    let types = types["SupportedEndpointTypes"].as_array().unwrap();
    assert!(types.iter().all(|kind| kind["EndpointType"] == "target"));
    assert!(["mysql", "mariadb", "postgres"].iter().all(|name| types.iter().any(|kind| kind["EngineName"] == *name)));
    let account = client.ok("DescribeAccountAttributes", json!({})).await;
    assert_eq!(account["AccountQuotas"][1]["Used"], 25);
}
