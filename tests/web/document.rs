//! The OpenAPI document: kept as a golden file, and true.

use serde_json::json;

use super::site::{Site, TARGET};

const GOLDEN: &str = "tests/openapi.json";

/// Written anew with `UPDATE_GOLDEN=1 cargo test --test integration openapi`.
#[test]
fn the_openapi_document_is_the_one_we_know() {
    let site = Site::start();
    let answer = site.get("/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let document = format!("{}\n", serde_json::to_string_pretty(&answer.json()).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &document).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    assert!(document == golden, "it has changed: look at the difference after UPDATE_GOLDEN=1");
}

#[test]
fn the_openapi_document_names_the_fields_that_are_understood() {
    let site = Site::start();
    let document = site.get("/openapi.json").json();
    for (schema, answer) in [
        ("AliasRequest", site.post(r#"{"?":1}"#)),
        ("AliasChange", {
            let alias = site.create(json!({"target": TARGET, "days": 1}));
            let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
            site.manage("PATCH", aid, key, Some(json!({"?": 1})))
        }),
    ] {
        let mut described: Vec<_> =
            document["components"]["schemas"][schema]["properties"].as_object().unwrap().keys().collect();
        described.sort();
        let why = answer.problem(400, "invalid-data");
        let mut understood: Vec<_> =
            why.split("known are ").nth(1).unwrap().trim_end_matches('.').split(", ").collect();
        understood.sort();
        assert_eq!(described, understood);
    }
}

#[test]
fn the_openapi_document_lists_every_answer() {
    let site = Site::start();
    let document = site.get("/openapi.json").json();
    let statuses = |path: &str, method: &str| -> Vec<String> {
        document["paths"][path][method]["responses"].as_object().unwrap().keys().cloned().collect()
    };
    let body = ["400", "408", "411", "413", "415"];
    let ours = ["500", "503"];
    assert_eq!(statuses("/aliases", "post"), sorted(&[&["201", "403", "422", "429"], &body[..], &ours]));
    let aid = "/aliases/{aid}";
    assert_eq!(statuses(aid, "get"), sorted(&[&["200", "404"], &ours]));
    assert_eq!(statuses(aid, "patch"), sorted(&[&["200", "404"], &body[..], &ours]));
    assert_eq!(statuses(aid, "delete"), sorted(&[&["204", "404"], &ours]));
}

fn sorted(parts: &[&[&str]]) -> Vec<String> {
    let mut all: Vec<String> = parts.concat().into_iter().map(str::to_owned).collect();
    all.sort();
    all
}
