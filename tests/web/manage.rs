//! Looking at, changing and revoking aliases with their key.

use serde_json::{Value, json};
use tempalias::bounce::{Failed, Failure};
use tempalias::clock;

use super::site::{Site, TARGET, seconds_between};

#[test]
fn the_holder_sees_how_the_alias_is_doing() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3, "max-usage": 5}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    site.spend(aid);
    let answer = site.manage("GET", aid, key, None);
    assert_eq!(answer.status, 200);
    let seen = answer.json();
    for (field, value) in [
        ("email", &alias["email"]),
        ("target", &json!(TARGET)),
        ("state", &json!("active")),
        ("used", &json!(1)),
        ("usage_left", &json!(4)),
        ("paused", &json!(false)),
        ("bounces", &json!(0)),
        ("valid_until", &alias["valid_until"]),
    ] {
        assert_eq!(&seen[field], value, "{field}");
    }
    assert_eq!(seen.get("updatekey"), None, "the key is shown once");
    assert_eq!(site.manage("GET", &aid.to_uppercase(), &key.to_uppercase(), None).status, 200);
}

#[test]
fn without_the_right_key_nothing_can_be_told_apart() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3}));
    let other = site.create(json!({"target": TARGET, "days": 3}));
    let aid = alias["aid"].as_str().unwrap();
    let (key, foreign) = (alias["updatekey"].as_str().unwrap(), other["updatekey"].as_str().unwrap());
    let over = site.expired();
    for method in ["GET", "PATCH", "DELETE"] {
        let body = (method == "PATCH").then(|| json!({"paused": true}));
        let ask = |aid: &str, key: &str| {
            let mut answer = site.manage(method, aid, key, body.clone());
            answer.headers.remove("date");
            answer
        };
        let unknown = ask("zzzzzzzz", key);
        unknown.problem(404, "not-found");
        assert_eq!(ask(aid, foreign), unknown, "a foreign key");
        assert_eq!(ask(aid, "x"), unknown, "no key at all");
        assert_eq!(ask(aid, ""), unknown, "an empty key");
        assert_eq!(ask(over.alias.name.as_str(), &over.key.to_string()), unknown, "an expired alias");
        for malformed in ["ä", "%ff", "%00", "a.b", "user", &"z".repeat(2000), "%2e%2e", "k7m2q1%0d%0ax"] {
            assert_eq!(ask(malformed, key), unknown, "{malformed}");
        }
    }
    let headless = site.request("GET", &format!("/aliases/{aid}"), &[], None);
    let basic =
        site.request("GET", &format!("/aliases/{aid}"), &[("Authorization", &format!("Basic {key}"))], None);
    assert_eq!(headless.body, basic.body);
    headless.problem(404, "not-found");
    basic.problem(404, "not-found");
    assert_eq!(site.manage("GET", aid, key, None).json()["paused"], false, "nothing has happened to it");
}

#[test]
fn pausing_leaves_the_limits_untouched() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3, "max-usage": 5}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    let paused = site.manage("PATCH", aid, key, Some(json!({"paused": true}))).json();
    assert_eq!((&paused["state"], &paused["paused"]), (&json!("paused"), &json!(true)));
    for field in ["valid_from", "valid_until", "max_usage", "usage_left", "days"] {
        assert_eq!(paused[field], alias[field], "{field}");
    }
    let again = site.manage("PATCH", aid, key, Some(json!({"paused": false}))).json();
    assert_eq!(again["state"], "active");
}

#[test]
fn resuming_forgets_the_bounces_that_suspended_an_alias() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    for _ in 0..5 {
        let (name, message, now) = (aid.parse().unwrap(), site.spend(aid), clock::now());
        let failed = vec![Failed { is_mailbox_fault: true, recipient: None }];
        let gone = Failure { failed, is_all: true };
        site.runtime.block_on(site.ledger.bounced(name, message, gone, now)).unwrap();
    }
    let seen = site.manage("GET", aid, key, None).json();
    assert_eq!((&seen["state"], &seen["bounces"]), (&json!("suspended"), &json!(5)));
    let resumed = site.manage("PATCH", aid, key, Some(json!({"paused": false}))).json();
    assert_eq!((&resumed["state"], &resumed["bounces"]), (&json!("active"), &json!(0)));
}

#[test]
fn a_used_up_alias_goes_on_when_more_messages_are_granted() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "max-usage": 1}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    site.spend(aid);
    assert_eq!(site.manage("GET", aid, key, None).json()["state"], "used-up");
    let more = site.manage("PATCH", aid, key, Some(json!({"max-usage": 3, "days": 2}))).json();
    assert_eq!(
        (&more["state"], &more["used"], &more["usage_left"]),
        (&json!("active"), &json!(1), &json!(2))
    );
    assert_eq!(seconds_between(&more["currentDate"], &more["valid_until"]), 2 * 86_400);
}

#[test]
fn changes_keep_to_the_caps_and_to_sense() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3, "max-usage": 5}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    let most = site.manage("PATCH", aid, key, Some(json!({"days": 61, "max-usage": 101}))).json();
    assert_eq!((&most["clamped"], &most["max_usage"]), (&json!(["days", "max-usage"]), &json!(100)));
    for (wish, sentence) in [
        (json!({"days": 0}), "Days must be at least 1."),
        (json!({"paused": 1}), "Paused must be true or false."),
        (json!({"valid-until": "2020-01-01T00:00:00Z"}), "Valid-until lies in the past."),
        (
            json!({"days": 1, "valid-until": "2999-01-01T00:00:00Z"}),
            "Give either days or valid-until, not both.",
        ),
        (json!({"target": TARGET}), "Unknown field target; known are days, valid-until, max-usage, paused."),
    ] {
        let answer = site.manage("PATCH", aid, key, Some(wish));
        assert_eq!(answer.problem(400, "invalid-data"), sentence);
    }
    let now = site.manage("GET", aid, key, None).json();
    assert_eq!((&now["valid_until"], &now["paused"]), (&most["valid_until"], &json!(false)));
}

#[test]
fn changes_made_at_the_same_time_are_all_kept() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 1, "max-usage": 1}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    let change = |wish: Value| assert_eq!(site.manage("PATCH", aid, key, Some(wish)).status, 200);
    for round in 2..40 {
        std::thread::scope(|at_once| {
            at_once.spawn(|| change(json!({"days": round})));
            at_once.spawn(|| change(json!({"max-usage": round})));
            at_once.spawn(|| change(json!({"paused": round % 2 == 0})));
        });
        let now = site.manage("GET", aid, key, None).json();
        let half_a_day = 43_200;
        let left = seconds_between(&now["currentDate"], &now["valid_until"]);
        assert_eq!((left + half_a_day) / 86_400, round, "days from now");
        assert_eq!(now["max_usage"], json!(round));
        assert_eq!(now["paused"], json!(round % 2 == 0));
    }
}

#[test]
fn a_revoked_alias_is_gone() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    let answer = site.manage("DELETE", aid, key, None);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    site.manage("DELETE", aid, key, None).problem(404, "not-found");
    site.manage("GET", aid, key, None).problem(404, "not-found");
    let name = aid.parse().unwrap();
    assert_eq!(site.runtime.block_on(site.ledger.lookup(&name)).unwrap(), None);
}

/// docs/api.md: a body is read before the key is looked at.
#[test]
fn a_body_that_is_no_good_is_refused_alike_whoever_sends_it() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    let large = format!("{{\"days\": 1{}}}", " ".repeat(1024));
    for (body, kind, status) in [
        ("{", "application/json", 400),
        ("{\"days\": 0}", "application/json", 400),
        ("{\"else\": 1}", "application/json", 400),
        (large.as_str(), "application/json", 413),
        ("{\"days\": 1}", "text/plain", 415),
    ] {
        let ask = |aid: &str, key: &str| {
            let bearer = format!("Bearer {key}");
            let headers = [("Authorization", bearer.as_str()), ("Content-Type", kind)];
            let mut answer = site.request("PATCH", &format!("/aliases/{aid}"), &headers, Some(body));
            answer.headers.remove("date");
            answer
        };
        let unknown = ask("zzzzzzzz", "x");
        assert_eq!(unknown.status, status, "{unknown:?}");
        assert_eq!(ask(aid, "x"), unknown, "{body}: with a wrong key");
        assert_eq!(ask(aid, key), unknown, "{body}: with the right one");
    }
}
