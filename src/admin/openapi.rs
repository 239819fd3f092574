//! `GET /openapi.json`: every call with what it takes and answers, made from the types that are
//! answered.

use std::sync::LazyLock;

use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::caches::{PurgeWish, Purged, Used};
use super::calls::{AdminAnswer, json_answer as answer};
use super::certificates::Certificates;
use super::refusals::Refusals;
use super::registry::{RegisteredServer, Removed, Wish};
use super::servers::Changed;
use super::stats::{Stats, UpstreamStats};
use super::warm::{WarmProgress, WarmWish};
use super::webhook::WebhookReceipt;
use crate::explain::Explanation;
use crate::reload::ReloadOutcome;
use crate::telemetry::timeline::TimelineReport;

/// The form of a body.
#[derive(Debug, Clone, Copy)]
enum CallBody {
    /// A schema by name, and its media type.
    Json(&'static str),
    Text(&'static str),
}

/// One call.
struct DescribedCall {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    takes: Option<CallBody>,
    answers: &'static [(u16, CallBody)],
}

const fn describe_call(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    answers: &'static [(u16, CallBody)],
) -> DescribedCall {
    DescribedCall { method, path, summary, takes: None, answers }
}

const SERVER: &str = "/upstreams/{upstream}/servers/{server}";
const PROBLEM: CallBody = CallBody::Json("Problem");

const CALLS: &[DescribedCall] = &[
    describe_call("get", "/", "The dashboard.", &[(200, CallBody::Text("text/html"))]),
    describe_call("get", "/live", "Whether the process works.", &[(200, CallBody::Json("Live"))]),
    describe_call(
        "get",
        "/ready",
        "Whether new work is welcome.",
        &[(200, CallBody::Json("Ready")), (503, CallBody::Json("Ready"))],
    ),
    describe_call("get", "/stats", "What is counted.", &[(200, CallBody::Json("Stats"))]),
    describe_call(
        "get",
        "/metrics",
        "The same for Prometheus, or as OpenMetrics to who accepts that.",
        &[(200, CallBody::Text("text/plain"))],
    ),
    describe_call(
        "get",
        "/refusals",
        "The last exchanges that did not end well, by code, the newest first.",
        &[(200, CallBody::Json("Refusals"))],
    ),
    describe_call(
        "get",
        "/history",
        "The last six hours by route and server: responses by class, medians, 99th percentiles.",
        &[(200, CallBody::Json("TimelineReport")), (422, PROBLEM)],
    ),
    describe_call(
        "get",
        "/certificates",
        "The certificates of listeners: file, names, and when they end.",
        &[(200, CallBody::Json("Certificates"))],
    ),
    describe_call("get", "/openapi.json", "This document.", &[(200, CallBody::Json("Anything"))]),
    describe_call(
        "get",
        "/config",
        "The configuration in effect, defaults filled in, secrets masked.",
        &[(200, CallBody::Json("Anything"))],
    ),
    DescribedCall {
        takes: Some(CallBody::Text("application/toml")),
        ..describe_call(
            "post",
            "/config/check",
            "What is wrong with a configuration.",
            &[(200, CallBody::Json("Checked")), (413, PROBLEM), (422, CallBody::Json("Checked"))],
        )
    },
    describe_call(
        "post",
        "/reload",
        "Reads the file again. 409: it was refused and the running configuration goes on.",
        &[
            (200, CallBody::Json("ReloadOutcome")),
            (409, CallBody::Json("ReloadOutcome")),
            (503, PROBLEM),
        ],
    ),
    describe_call(
        "post",
        "/rollback",
        "Goes back to the configuration before.",
        &[
            (200, CallBody::Json("ReloadOutcome")),
            (409, CallBody::Json("ReloadOutcome")),
            (503, PROBLEM),
        ],
    ),
    describe_call(
        "post",
        "/drain",
        "Finishes what is under way and ends, as SIGTERM does.",
        &[(202, CallBody::Json("Draining"))],
    ),
    describe_call(
        "get",
        "/explain",
        "What would happen to a request.",
        &[(200, CallBody::Json("Explanation")), (422, PROBLEM)],
    ),
    DescribedCall {
        takes: Some(CallBody::Json("PurgeWish")),
        ..describe_call(
            "post",
            "/cache/purge",
            "Removes stored responses, or makes them stale. 400: nothing, or something unknown, is named.",
            &[(200, CallBody::Json("Purged")), (400, PROBLEM), (413, PROBLEM), (503, PROBLEM)],
        )
    },
    DescribedCall {
        takes: Some(CallBody::Json("Anything")),
        ..describe_call(
            "post",
            "/cache/webhook/{cache}",
            "An event that says what is no longer valid, signed as Standard Webhooks say. 401: it is not signed with the cache's secret, or too old.",
            &[
                (200, CallBody::Json("WebhookReceipt")),
                (400, PROBLEM),
                (401, PROBLEM),
                (404, PROBLEM),
                (413, PROBLEM),
                (415, PROBLEM),
                (503, PROBLEM),
            ],
        )
    },
    describe_call(
        "get",
        "/cache/top",
        "The stored responses that were used most.",
        &[(200, CallBody::Json("Top")), (400, PROBLEM)],
    ),
    DescribedCall {
        takes: Some(CallBody::Json("WarmWish")),
        ..describe_call(
            "post",
            "/cache/warm",
            "Asks for URLs as clients do, so that they are stored. 202: it goes on. 409: another one goes on.",
            &[
                (200, CallBody::Json("WarmProgress")),
                (202, CallBody::Json("WarmProgress")),
                (400, PROBLEM),
                (409, PROBLEM),
                (413, PROBLEM),
            ],
        )
    },
    describe_call(
        "get",
        "/cache/warm",
        "How far that is, or how the last one ended. 202: it goes on.",
        &[
            (200, CallBody::Json("WarmProgress")),
            (202, CallBody::Json("WarmProgress")),
            (404, PROBLEM),
        ],
    ),
    describe_call("get", "/upstreams", "All upstreams.", &[(200, CallBody::Json("Upstreams"))]),
    describe_call(
        "get",
        "/upstreams/{upstream}",
        "One upstream.",
        &[(200, CallBody::Json("UpstreamStats")), (404, PROBLEM)],
    ),
    DescribedCall {
        takes: Some(CallBody::Json("Wish")),
        ..describe_call(
            "put",
            SERVER,
            "Registers a server or renews its lease, where servers register themselves; gives one another weight or \
             another state. It is no reload, and closes no connection. 201: it was not there. 403: the address is not \
             allowed. 409: the address is another server's, there is no room, or servers do not register here.",
            &[
                (200, CallBody::Json("Put")),
                (201, CallBody::Json("RegisteredServer")),
                (403, PROBLEM),
                (404, PROBLEM),
                (409, PROBLEM),
                (422, PROBLEM),
                (503, PROBLEM),
            ],
        )
    },
    describe_call(
        "delete",
        SERVER,
        "A server that registered itself leaves: it gets nothing new and finishes what it has. Those of the file are \
         refused.",
        &[(200, CallBody::Json("Removed")), (404, PROBLEM), (409, PROBLEM), (503, PROBLEM)],
    ),
    describe_call(
        "post",
        "/upstreams/{upstream}/servers/{server}/{order}",
        "`drain`, `disable` or `enable`.",
        &[(200, CallBody::Json("Changed")), (404, PROBLEM)],
    ),
];

/// Query parameters, by path.
const PARAMETERS: &[(&str, &str, &str)] = &[
    ("/reload", "force", "`1`: whatever `runtime.shrink_guard` says"),
    ("/cache/top", "n", "how many, from 1 to 1000; default 20"),
    ("/history", "minutes", "how far back, from 1 to 360; default 360"),
    ("/history", "points", "into how many points at most, from 1 to 2160; default 360"),
    ("/history", "of", "`all`: without routes and servers"),
    ("/explain", "method", "default `GET`"),
    ("/explain", "url", "`http://host/path?query`"),
    ("/explain", "header", "`name:value`; may be given several times"),
    ("/explain", "client", "the client's address; default loopback"),
    ("/explain", "sni", "the name that the TLS connection was made for; default the URL's host"),
    ("/explain", "cert_subject", "the subject of the client's certificate"),
    ("/explain", "cert_name", "a name in the client's certificate; may be given several times"),
    ("/explain", "listener", "a listener's name; default the first"),
];

pub(super) fn openapi_page() -> AdminAnswer {
    // Making it takes some time, in which probes would wait.
    static DOCUMENT: LazyLock<Json> = LazyLock::new(openapi_document);
    answer(StatusCode::OK, &*DOCUMENT)
}

/// The document, OpenAPI 3.1.
#[must_use]
pub fn openapi_document() -> Json {
    let mut paths: Map<String, Json> = Map::new();
    for call in CALLS {
        let operations = paths.entry(call.path).or_insert_with(|| json!({}));
        operations[call.method] = describe_operation(call);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tidegate admin endpoint",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Calls that change something need the token where one is configured.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": collect_schemas(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn describe_operation(call: &DescribedCall) -> Json {
    let mut answers = Map::new();
    for (status, body) in call.answers {
        let status_text = StatusCode::from_u16(*status).ok().and_then(|s| s.canonical_reason());
        let described = json!({ "description": status_text, "content": describe_content(*body) });
        answers.insert(status.to_string(), described);
    }
    let other = json!({ "description": "Refused", "content": describe_content(PROBLEM) });
    answers.insert("default".to_owned(), other);
    let mut parameters = Vec::new();
    for name in call.path.split(['{', '}']).skip(1).step_by(2) {
        let string = json!({ "type": "string" });
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": string }));
    }
    for (_, name, about) in PARAMETERS.iter().filter(|(path, ..)| *path == call.path) {
        let string = json!({ "type": "string" });
        parameters.push(json!({
            "name": name, "in": "query", "description": about, "schema": string,
        }));
    }
    let mut said = json!({ "summary": call.summary, "responses": answers });
    if !parameters.is_empty() {
        said["parameters"] = parameters.into();
    }
    if let Some(body) = call.takes {
        said["requestBody"] = json!({ "required": true, "content": describe_content(body) });
    }
    if call.method != "get" {
        said["security"] = json!([{ "token": [] }]);
    }
    said
}

fn describe_content(body: CallBody) -> Json {
    let (kind, schema) = match body {
        CallBody::Json(name) => {
            let kind =
                if name == "Problem" { "application/problem+json" } else { "application/json" };
            (kind, json!({ "$ref": format!("#/components/schemas/{name}") }))
        }
        CallBody::Text(kind) => (kind, json!({ "type": "string" })),
    };
    json!({ kind: { "schema": schema } })
}

/// The types by name.
fn collect_schemas() -> Json {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    add_schema::<Stats>(&mut generator);
    add_schema::<Refusals>(&mut generator);
    add_schema::<Certificates>(&mut generator);
    add_schema::<TimelineReport>(&mut generator);
    add_schema::<UpstreamStats>(&mut generator);
    add_schema::<ReloadOutcome>(&mut generator);
    add_schema::<Explanation>(&mut generator);
    add_schema::<Changed>(&mut generator);
    add_schema::<Wish>(&mut generator);
    add_schema::<RegisteredServer>(&mut generator);
    add_schema::<Removed>(&mut generator);
    add_schema::<PurgeWish>(&mut generator);
    add_schema::<Purged>(&mut generator);
    add_schema::<WebhookReceipt>(&mut generator);
    add_schema::<Used>(&mut generator);
    add_schema::<WarmWish>(&mut generator);
    add_schema::<WarmProgress>(&mut generator);
    let mut all = Json::Object(generator.take_definitions(true));
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let flag = |name: &str| json!({ "type": "object", "required": [name], "properties": { name: { "type": "boolean" } } });
    all["Live"] = flag("live");
    all["Ready"] = flag("ready");
    all["Draining"] = flag("draining");
    let either = ["Changed", "RegisteredServer"].map(reference);
    all["Put"] = json!({ "anyOf": either });
    all["Anything"] = json!({ "type": "object" });
    all["Top"] = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Used" } });
    all["Upstreams"] =
        json!({ "type": "array", "items": { "$ref": "#/components/schemas/UpstreamStats" } });
    all["Problem"] = json!({
        "type": "object",
        "description": "RFC 9457; `code` is stable.",
        "required": ["status", "title", "code"],
        "properties": {
            "status": { "type": "integer" },
            "title": { "type": "string" },
            "code": { "type": "string" },
            "detail": { "type": "string" },
        },
    });
    all["Checked"] = json!({
        "type": "object",
        "required": ["ok", "errors", "warnings", "findings"],
        "properties": {
            "ok": { "type": "boolean" },
            "errors": { "type": "integer" },
            "warnings": { "type": "integer" },
            "findings": { "type": "array", "items": {
                "type": "object",
                "required": ["severity", "code", "message"],
                "properties": {
                    "severity": { "enum": ["error", "warning"] },
                    "code": { "type": "string" },
                    "message": { "type": "string" },
                },
            } },
        },
    });
    all
}

fn add_schema<T: JsonSchema>(generator: &mut SchemaGenerator) {
    // It puts the type among the definitions; the reference to it is not needed.
    let _reference = generator.subschema_for::<T>();
}
