//! What the admin port can be asked, as OpenAPI 3.1.

use actix_web::HttpResponse;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    delivery::{Explanation, OBJECT, OriginReport, PurgeRequest, TierStats},
    jobs::Told,
};

/// One method of one path.
struct Operation {
    told: Value,
    parameters: Vec<Value>,
    responses: Map<String, Value>,
}

const JSON: &str = "application/json";

fn operation(summary: &str) -> Operation {
    Operation { told: json!({ "summary": summary }), parameters: Vec::new(), responses: Map::new() }
}

fn content(media_type: &str, schema: Value) -> Value {
    json!({ media_type: { "schema": schema } })
}

impl Operation {
    /// On addresses that others can reach, a token with this scope is asked for.
    fn wants(mut self, scope: &str) -> Self {
        self.told["security"] = json!([{ "bearer": [scope] }]);
        self.problem(401, "no token").problem(403, "the token is not for this")
    }

    fn parameter(mut self, place: &str, name: &str, kind: &str, description: &str) -> Self {
        let required = place == "path";
        self.parameters.push(json!({
            "in": place, "name": name, "required": required, "description": description, "schema": { "type": kind },
        }));
        self
    }

    fn query(self, name: &str, kind: &str, description: &str) -> Self {
        self.parameter("query", name, kind, description)
    }

    fn sends(mut self, schema: Value) -> Self {
        self.told["requestBody"] = json!({ "required": true, "content": content(JSON, schema) });
        self
    }

    fn answers_as(mut self, status: u16, description: &str, content: Value) -> Self {
        let answer = json!({ "description": description, "content": content });
        self.responses.insert(status.to_string(), answer);
        self
    }

    fn answers(self, status: u16, description: &str, schema: &Value) -> Self {
        self.answers_as(status, description, content(JSON, schema.clone()))
    }

    fn problem(self, status: u16, description: &str) -> Self {
        let problem = json!({ "$ref": "#/components/schemas/Problem" });
        self.answers_as(status, description, content("application/problem+json", problem))
    }

    fn done(mut self) -> Value {
        if !self.parameters.is_empty() {
            self.told["parameters"] = self.parameters.into();
        }
        self.told["responses"] = self.responses.into();
        self.told
    }
}

fn schema<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

fn array(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// An object with these fields and their types.
fn object(fields: &[(&str, &str)]) -> Value {
    let properties = fields.iter().map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind })));
    json!({ "type": "object", "properties": Value::Object(properties.collect()) })
}

fn health(summary: &str) -> Value {
    let status = object(&[("status", "string")]);
    let operation = operation(summary).answers(200, "yes", &status.clone());
    operation.answers(503, "starting, warming or draining", &status).done()
}

fn paths(schemas: &mut SchemaGenerator) -> Value {
    let receipt = object(&[("sequence", "integer")]);
    let drain = object(&[("draining", "boolean"), ("active_requests", "integer")]);
    let (job, origin) = (schema::<Told>(schemas), schema::<OriginReport>(schemas));
    let id = |operation: Operation| operation.parameter("path", "id", "string", "of a job");
    let ready = health("whether this server may be sent requests");
    let metrics = content("text/plain", json!({ "type": "string" }));
    json!({
        "/health": { "get": ready }, "/health/ready": { "get": ready }, "/healthz": { "get": ready }, "/readyz": { "get": ready },
        "/health/live": { "get": health("whether this process answers") },
        "/livez": { "get": health("whether this process answers") },
        "/metrics": { "get": operation("metrics in Prometheus' text format").answers_as(200, "all of them", metrics).done() },
        "/openapi.json": { "get": operation("this description").answers(200, "it", &json!({ "type": "object" })).done() },
        "/api/v1/cache/stats": { "get": operation("sizes and traffic of the tiers").wants("admin")
            .answers(200, "of both tiers", &schema::<TierStats>(schemas)).done() },
        "/api/v1/cache/explain": { "get": operation("why a request would hit or miss").wants("admin")
            .query("url", "string", "path and query, or a whole address")
            .query("method", "string", "GET or HEAD")
            .query("header", "string", "a field of the request, such as `Accept: image/webp`; may stand there several times")
            .query("format", "string", "`text` for people")
            .answers(200, "the explanation", &schema::<Explanation>(schemas)).problem(400, "not a request").done() },
        "/api/v1/cache/hot": { "get": operation("objects in memory, hottest first").wants("admin")
            .query("limit", "integer", "at most so many").query("bytes", "integer", "at most so much in all")
            .answers(200, "ids, lengths and uses", &json!({ "type": "object" })).problem(400, "not a number").done() },
        "/api/v1/cache/object/{id}": { "get": operation("a stored object, for peers").wants("admin")
            .parameter("path", "id", "string", "from the list of hot objects")
            .answers_as(200, "head and body", content(OBJECT, json!({ "type": "string", "format": "binary" })))
            .problem(404, "not here (any more)").done() },
        "/api/v1/cache/purges": { "get": operation("purges, for peers").wants("admin")
            .query("after", "integer", "a sequence number").query("within_secs", "integer", "instead: of the last so many seconds")
            .answers(200, "in order", &json!({ "type": "object" })).problem(400, "neither of both").done() },
        "/api/v1/cache/warm": {
            "get": operation("how filling from peers goes on").wants("admin").answers(200, "so far", &json!({ "type": "object" })).done(),
            "post": operation("fill from peers").wants("admin").sends(json!({ "type": "object" }))
                .answers(202, "begun", &json!({ "type": "object" })).problem(400, "no such peers").problem(409, "it goes on already").done(),
            "delete": operation("break it off").wants("admin").answers(200, "whether there was anything", &object(&[("broken_off", "boolean")])).done(),
        },
        "/api/v1/drain": {
            "get": operation("whether this server sends clients away").wants("admin").answers(200, "and how many are left", &drain).done(),
            "post": operation("send clients away").wants("admin").answers(200, "begun", &drain).done(),
            "delete": operation("take clients again").wants("admin").answers(200, "ended", &drain).done(),
        },
        "/api/v1/origins": { "get": operation("health and breakers of the origins").wants("admin")
            .answers(200, "each of them", &json!({ "type": "object", "properties": { "origins": array(&origin) } })).done() },
        "/api/v1/config": { "get": operation("the settings in force, without secrets").wants("admin")
            .answers(200, "as in the reference of the configuration", &json!({ "type": "object" })).done() },
        "/api/v1/purge": { "post": operation("forget what is stored").wants("purge").sends(schema::<PurgeRequest>(schemas))
            .answers(200, "it holds from now on, after a restart too", &receipt).problem(400, "nothing, too much, or no such names")
            .problem(503, "it could not be made durable").done() },
        "/api/v1/assets": { "get": operation("uploaded assets").wants("read")
            .query("prefix", "string", "of their keys").query("tag", "string", "that they have")
            .query("after", "string", "`next` of the page before").query("limit", "integer", "on a page")
            .answers(200, "in order of their keys", &json!({ "type": "object", "properties": {
                "assets": array(&json!({ "type": "object" })), "next": { "type": ["string", "null"] } } }))
            .problem(404, "uploads are not taken here").done() },
        "/api/v1/jobs": {
            "get": operation("jobs, the latest first").wants("upload")
                .query("owner", "string", "only this one's").query("state", "string", "only those").query("after", "string", "`next` of the page before").query("limit", "integer", "on a page")
                .answers(200, "a page", &json!({ "type": "object", "properties": { "jobs": array(&job), "next": { "type": ["string", "null"] } } })).done(),
            "post": operation("have work done").wants("upload")
                .parameter("header", "Idempotency-Key", "string", "sent again with it, the job is the same")
                .sends(json!({ "type": "object", "properties": { "preset": { "type": "string" }, "priority": { "type": "string" } },
                    "required": ["preset"] }))
                .answers(202, "queued", &job).answers(200, "the one sent before with this key", &job)
                .problem(400, "not such work").problem(422, "it cannot be done, or the key was for other work").problem(429, "too many of this owner").problem(503, "the queue is full").done(),
        },
        "/api/v1/jobs/{id}": {
            "get": id(operation("how far a job is")).wants("upload").answers(200, "it", &job).problem(404, "no such job").done(),
            "delete": id(operation("cancel a job")).wants("upload").answers(200, "it", &job).problem(409, "it has ended").done(),
        },
        "/api/v1/jobs/{id}/events": { "get": id(operation("follow a job")).wants("upload")
            .answers_as(200, "events `progress` until it ends", content("text/event-stream", json!({ "type": "string" })))
            .problem(404, "no such job").done() },
        "/api/v1/jobs/{id}/retry": { "post": id(operation("try a dead job once more")).wants("upload")
            .answers(200, "it", &job).problem(409, "it is not dead").done() },
    })
}

pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let paths = paths(&mut schemas);
    let mut components = schemas.take_definitions(true);
    let problem = object(&[("status", "integer"), ("title", "string"), ("detail", "string")]);
    components.insert("Problem".to_owned(), problem);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Millrace, admin port", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "Apache-2.0" } },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer",
                "description": "asked for on addresses that others can reach; made by `millrace token`" } },
        },
    })
}

/// The paths, for who asks for something else.
pub fn known() -> String {
    match &document()["paths"] {
        Value::Object(paths) => paths.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    }
}

pub async fn on_admin() -> HttpResponse {
    HttpResponse::Ok().json(document())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As they are registered, with their paths and methods.
    fn registered() -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        for source in [include_str!("admin.rs"), include_str!("jobs.rs"), include_str!("warm.rs")] {
            for part in source.split("config").skip(1) {
                let statement = part.split(';').next().unwrap_or_default();
                let Some(path) = statement.split('"').nth(1).filter(|path| path.starts_with('/')) else {
                    continue;
                };
                let methods = statement.split("web::").skip(1).filter_map(|word| word.split_once("()"));
                found.push((path.to_owned(), methods.map(|(method, _)| method.to_owned()).collect()));
            }
        }
        found
    }

    #[test]
    fn all_that_can_be_asked_is_told() {
        let document = document();
        let registered = registered();
        assert!(registered.len() > 15, "{registered:?}");
        for (path, methods) in registered {
            for method in methods {
                assert!(document["paths"][&path][&method].is_object(), "{method} {path}");
            }
        }
    }

    #[test]
    fn references_lead_somewhere() {
        fn look(value: &Value, document: &Value) {
            if let Some(Value::String(reference)) = value.get("$ref") {
                let place = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
                assert!(place.is_some(), "{reference}");
            }
            match value {
                Value::Object(fields) => fields.values().for_each(|value| look(value, document)),
                Value::Array(items) => items.iter().for_each(|value| look(value, document)),
                _ => {}
            }
        }
        let document = document();
        look(&document, &document);
        assert!(document["components"]["schemas"]["Explanation"].is_object());
    }
}
