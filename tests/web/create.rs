//! Creating aliases: what is granted, what is refused.

use serde_json::{Value, json};
use tempalias::clock;

use super::site::{Site, TARGET, instant, seconds_between};

#[test]
fn the_request_of_the_2010_browser_extension_is_understood() {
    let site = Site::start();
    let body = r#"{"target":"t@example.com","days":3,"max-usage":5}"#;
    let answer = site.request(
        "POST",
        "/aliases",
        &[
            ("Origin", "chrome-extension://jbkcgpmjkbibnljgcdlckkmlhcmilcoi"),
            ("Content-Type", "application/json; charset=UTF-8"),
        ],
        Some(body),
    );
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let alias = answer.json();
    assert_eq!(alias["aid"].as_str().unwrap().len(), 6);
    instant(&alias["currentDate"]);
}

#[test]
fn a_new_alias_is_described_in_full() {
    let site = Site::start();
    let answer = site.post(&json!({"target": TARGET, "days": 3, "max-usage": 5}).to_string());
    let alias = answer.json();
    let aid = alias["aid"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/aliases/{aid}"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(alias["email"], format!("{aid}@demo.test"));
    assert_eq!(alias["updatekey"].as_str().unwrap().len(), 32);
    assert_eq!(seconds_between(&alias["valid_from"], &alias["valid_until"]), 3 * 86_400);
    for (field, value) in [
        ("domain", json!("demo.test")),
        ("target", json!(TARGET)),
        ("state", json!("active")),
        ("max_usage", json!(5)),
        ("usage_left", json!(5)),
        ("used", json!(0)),
        ("days", json!(3)),
        ("clamped", json!([])),
    ] {
        assert_eq!(alias[field], value, "{field}");
    }
}

#[test]
fn one_limit_is_enough_and_the_other_is_null() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "max-usage": 1}));
    assert_eq!((&alias["valid_until"], &alias["days"]), (&Value::Null, &Value::Null));
    let alias = site.create(json!({"target": TARGET, "days": 1}));
    assert_eq!((&alias["max_usage"], &alias["usage_left"]), (&Value::Null, &Value::Null));
}

#[test]
fn instants_are_taken_with_any_offset_and_answered_in_utc() {
    let site = Site::start();
    let from = clock::now().checked_add(jiff::SignedDuration::from_hours(48)).unwrap();
    let until = from.checked_add(jiff::SignedDuration::from_hours(36)).unwrap();
    let paris = jiff::tz::Offset::constant(2);
    let alias = site.create(json!({
        "target": TARGET,
        "valid-from": from.display_with_offset(paris).to_string(),
        "valid-until": until.display_with_offset(paris).to_string(),
    }));
    assert_eq!((instant(&alias["valid_from"]), instant(&alias["valid_until"])), (from, until));
    assert_eq!((&alias["days"], &alias["state"]), (&json!(2), &json!("pending")));
}

#[test]
fn more_than_the_operator_grants_is_cut_and_named() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 61, "max-usage": 4_294_967_295u32}));
    assert_eq!((&alias["days"], &alias["max_usage"]), (&json!(60), &json!(100)));
    assert_eq!(alias["clamped"], json!(["days", "max-usage"]));
    let alias = site.create(json!({"target": TARGET, "valid-until": "9999-12-30T00:00:00Z"}));
    assert_eq!((&alias["days"], &alias["clamped"]), (&json!(60), &json!(["valid-until"])));
}

#[test]
fn any_of_our_domains_can_be_chosen_in_any_spelling() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 1, "domain": "Second.TEST"}));
    assert_eq!(alias["domain"], "second.test");
    let foreign = site.post(&json!({"target": TARGET, "days": 1, "domain": "else.example"}).to_string());
    let why = foreign.problem(400, "invalid-data");
    assert_eq!(why, "Domain must be one of ours: demo.test, second.test.");
}

#[test]
fn an_international_address_is_accepted() {
    let site = Site::start();
    let alias = site.create(json!({"target": "info@bücher.example", "days": 1}));
    assert_eq!(alias["target"], "info@xn--bcher-kva.example");
}

#[test]
fn impossible_wishes_are_refused_with_a_sentence_that_names_the_field() {
    let site = Site::start();
    let whole = "must be a whole number, without quotes, fraction or exponent.";
    for (limits, sentence) in [
        (r#""days":0"#, "Days must be at least 1.".to_owned()),
        (r#""days":-1"#, "Days must be at least 1.".into()),
        (r#""days":4294967296"#, "Days is far too large.".into()),
        (r#""days":18446744073709551615"#, "Days is far too large.".into()),
        (r#""days":99999999999999999999999"#, format!("Days {whole}")),
        (r#""days":5.0"#, format!("Days {whole}")),
        (r#""days":1e1"#, format!("Days {whole}")),
        (r#""days":"5""#, format!("Days {whole}")),
        (r#""days":null"#, format!("Days {whole}")),
        (r#""days":true"#, format!("Days {whole}")),
        (r#""days":[1]"#, format!("Days {whole}")),
        (r#""max-usage":0"#, "Max-usage must be at least 1.".into()),
        (r#""max-usage":-9223372036854775808"#, "Max-usage must be at least 1.".into()),
        (r#""max-usage":2.5"#, format!("Max-usage {whole}")),
        (
            r#""days":1,"valid-until":"2999-01-01T00:00:00Z""#,
            "Give either days or valid-until, not both.".into(),
        ),
        (r#""valid-until":"2020-01-01T00:00:00Z""#, "Valid-until lies in the past.".into()),
        (
            r#""valid-until":"tomorrow""#,
            "Valid-until must be an instant with its offset, like 2030-12-31T18:00:00Z.".into(),
        ),
        (
            r#""days":1,"valid-from":17"#,
            "Valid-from must be an instant with its offset, like 2030-12-31T18:00:00Z.".into(),
        ),
        (r#""days":1,"domain":7"#, "Domain must be a string.".into()),
    ] {
        let answer = site.post(&format!(r#"{{"target":"{TARGET}",{limits}}}"#));
        assert_eq!(answer.problem(400, "invalid-data"), sentence, "{limits}");
        assert!(!answer.body.contains("hidden"), "{answer:?}");
    }
    let none = site.post(&json!({"target": TARGET}).to_string());
    assert_eq!(none.problem(400, "invalid-data"), "A limit is needed: days, valid-until or max-usage.");
}

#[test]
fn a_target_that_cannot_be_one_is_refused_without_being_repeated() {
    let site = Site::configured(|config| {
        config.aliases.forbidden_targets =
            ["hidden.test", "hidden.person@mailbox.example"].map(|target| target.parse().unwrap()).into();
    });
    for target in [
        json!("hidden"),
        json!(""),
        json!("hidden person@mailbox.example"),
        json!("hidden@mailbox.example@mailbox.example"),
        json!("hidden@mailbox.example\r\nRCPT TO:<v@t.example>"),
        json!("hidden@mailbox.example\u{0}"),
        json!("hidden@localhost"),
        json!("hidden@[127.0.0.1]"),
        json!(format!("hidden@{}example", "mailbox.".repeat(40))),
        json!("hidden@demo.test"),
        json!("hidden@DEMO.Test"),
        json!("hidden@second.test."),
        json!("hidden@mx.demo.test"),
        json!("hidden@Hidden.test."),
        json!("hidden.person@mailbox.example"),
        json!("Hidden.Person+1@Mailbox.Example"),
        json!(["hidden@mailbox.example"]),
        json!(17),
        Value::Null,
    ] {
        let answer = site.post(&json!({"target": target, "days": 1}).to_string());
        answer.problem(400, "invalid-data");
        assert!(!answer.body.contains("hidden") && !answer.body.contains("RCPT"), "{answer:?}");
    }
    let answer = site.post(r#"{"days":1}"#);
    assert_eq!(answer.problem(400, "invalid-data"), "Target is missing.");
}

#[test]
fn what_is_not_exactly_one_object_of_known_fields_is_refused() {
    let site = Site::start();
    for (body, start) in [
        ("", "The body is not valid JSON"),
        ("{", "The body is not valid JSON (line 1, column 1)"),
        (r#"{"target":"hidden@mailbox.example","days":1}}"#, "The body is not valid JSON"),
        (r#"{"target":"hidden@mailbox.example","days":1,}"#, "The body is not valid JSON"),
        (r#"{'target':'hidden@mailbox.example'}"#, "The body is not valid JSON"),
        (r#"{"target":"hidden\ud800@mailbox.example","days":1}"#, "The body is not valid JSON"),
        (r#"{"days":NaN}"#, "The body is not valid JSON"),
        (&"[".repeat(1000), "The body must be a JSON object."),
        ("[]", "The body must be a JSON object."),
        ("null", "The body must be a JSON object."),
        (r#""hidden@mailbox.example""#, "The body must be a JSON object."),
        (r#"{"target":"hidden@mailbox.example","days":1,"days":2}"#, "Days is given twice."),
        (r#"{"target":"a@b.example","target":"hidden@mailbox.example"}"#, "Target is given twice."),
        (
            r#"{"target":"hidden@mailbox.example","max_usage":1}"#,
            "Unknown field max_usage; known are target, days, max-usage, valid-from, valid-until, domain.",
        ),
        (r#"{"hidden@mailbox.example":1}"#, "Unknown field; known are target, "),
        (r#"{"":1}"#, "Unknown field; known are target, "),
        (r#"{"days":{"a":[{"b":"hidden"}]}}"#, "Days must be a whole number"),
        ("{}", "Target is missing."),
    ] {
        let answer = site.post(body);
        let why = answer.problem(400, "invalid-data");
        assert!(why.starts_with(start), "{body}: {why}");
        assert!(!answer.body.contains("hidden"), "{answer:?}");
    }
}

#[test]
fn a_repeated_request_gives_the_same_alias_with_its_key() {
    let site = Site::start();
    let ask = |once: &str, body: &Value| {
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", once)];
        site.request("POST", "/aliases", &headers, Some(&body.to_string()))
    };
    let wish = json!({"target": TARGET, "days": 3, "max-usage": 5});
    let (first, second) = (ask("2f1c-first", &wish), ask("2f1c-first", &wish));
    assert_eq!((first.status, second.status), (201, 201), "{second:?}");
    let (first, second) = (first.json(), second.json());
    for field in ["aid", "email", "updatekey", "valid_until", "max_usage", "clamped"] {
        assert_eq!(first[field], second[field], "{field}");
    }
    assert_eq!(
        site.manage("GET", first["aid"].as_str().unwrap(), first["updatekey"].as_str().unwrap(), None).status,
        200
    );
    assert_ne!(ask("2f1c-other", &wish).json()["aid"], first["aid"]);

    let another = json!({"target": TARGET, "days": 4, "max-usage": 5});
    let why = ask("2f1c-first", &another).problem(422, "invalid-data");
    assert_eq!(why, "This Idempotency-Key has been used for another request.");
    for malformed in ["two words", &"x".repeat(256)] {
        let answer = ask(malformed, &wish);
        assert_eq!(answer.status, 400, "{malformed}");
        answer.problem(400, "invalid-data");
    }
}

#[test]
fn a_double_click_makes_one_alias() {
    let site = Site::start();
    let body = json!({"target": TARGET, "days": 3}).to_string();
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "9c77a1e0")];
    let names: Vec<String> = std::thread::scope(|scope| {
        let click = || site.request("POST", "/aliases", &headers, Some(&body));
        let clicks: Vec<_> = (0..16).map(|_| scope.spawn(click)).collect();
        clicks.into_iter().map(|click| click.join().unwrap().json()["aid"].to_string()).collect()
    });
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
}

#[test]
fn after_its_alias_was_revoked_a_repeated_request_gives_a_new_one() {
    let site = Site::start();
    let body = json!({"target": TARGET, "days": 3}).to_string();
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "77e1")];
    let ask = || site.request("POST", "/aliases", &headers, Some(&body)).json();
    let first = ask();
    let (aid, key) = (first["aid"].as_str().unwrap(), first["updatekey"].as_str().unwrap());
    assert_eq!(site.manage("DELETE", aid, key, None).status, 204);
    assert_ne!(ask()["aid"], first["aid"]);
}
