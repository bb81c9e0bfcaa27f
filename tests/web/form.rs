//! The form without a script, JSONP, and who may send them.

use crate::site::Site;

const FORM: &str = "target=hidden.person%40mailbox.example&days=3&max-usage=5";

#[test]
fn the_form_works_without_a_script() {
    let site = Site::start();
    let page = site.submit(FORM, &[("Sec-Fetch-Site", "same-origin"), ("Origin", "null")]);
    assert_eq!((page.status, page.header("content-type")), (201, "text/html; charset=utf-8"), "{page:?}");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(!page.body.contains("hidden.person"), "the page repeats the address");
    let link = page.body.split("/en/manage#").nth(1).unwrap().split('"').next().unwrap();
    let (aid, key) = link.split_once('.').unwrap();
    assert!(page.body.contains(&format!("{aid}@demo.test")));
    let alias = site.manage("GET", aid, key, None).json();
    assert_eq!((alias["days"].as_u64(), alias["max_usage"].as_u64()), (Some(3), Some(5)));
}

#[test]
fn a_limit_that_was_left_empty_is_none() {
    let site = Site::start();
    let page = site.submit("target=hidden.person%40mailbox.example&days=&max-usage=5", &[]);
    assert_eq!(page.status, 201, "{page:?}");
    let page = site.submit("target=hidden.person%40mailbox.example&days=&max-usage=", &[]);
    assert_eq!(page.status, 400);
}

#[test]
fn what_is_wrong_with_a_form_is_said_on_a_page_in_its_language_without_repeating_it() {
    let site = Site::start();
    let de = [("Accept-Language", "de")];
    for (form, status, sentence) in [
        ("target=secretive&days=1", 400, "Eine Adresse hat genau ein @"),
        ("target=secretive%40demo.test&days=1", 400, "Das ist eine Adresse dieses Dienstes"),
        ("target=a%40b.example&days=none", 400, "Days must be a whole number"),
        ("target=a%40b.example&days=1&days=2", 400, "Days is given twice"),
        ("target=a%40b.example&days=1&else=2", 400, "Unknown field else"),
        ("", 400, "Target is missing"),
    ] {
        let page = site.submit(form, &de);
        assert_eq!(
            (page.status, page.header("content-type")),
            (status, "text/html; charset=utf-8"),
            "{form}"
        );
        assert!(page.body.contains(sentence), "{form}: {}", page.body);
        assert!(!page.body.contains("secretive"), "{form}");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    let large = site.submit(&format!("{FORM}&else={}", "x".repeat(1024)), &[]);
    assert_eq!((large.status, large.header("content-type")), (413, "text/html; charset=utf-8"));
}

#[test]
fn html_in_a_form_stays_text() {
    let site = Site::start();
    let page = site.submit("target=a%40b.example&days=1&%3Cscript%3Ealert(1)%3C%2Fscript%3E=1", &[]);
    assert_eq!(page.status, 400);
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
}

#[test]
fn a_form_from_another_site_is_refused() {
    let site = Site::configured(|config| {
        config.http.public_url = Some("https://alias.example".to_owned().try_into().unwrap());
    });
    for (headers, status) in [
        (&[("Sec-Fetch-Site", "cross-site")][..], 403),
        (&[("Sec-Fetch-Site", "same-site")], 403),
        (&[("Sec-Fetch-Site", "same-origin"), ("Origin", "https://else.example")], 201),
        (&[("Sec-Fetch-Site", "none")], 201),
        (&[("Origin", "https://else.example")], 403),
        (&[("Origin", "null")], 403),
        (&[("Origin", "http://localhost")], 201),
        (&[("Origin", "https://alias.example")], 201),
        (&[("Origin", "https://alias.example.else.example")], 403),
        (&[], 201),
    ] {
        let page = site.submit(FORM, headers);
        assert_eq!(page.status, status, "{headers:?}");
    }
}

#[test]
fn nothing_is_created_by_get() {
    let site = Site::start();
    let query = format!("/aliases?callback=f&{FORM}");
    let answer = site.get(&query);
    answer.problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), "OPTIONS, POST");
    site.get(&format!("/?{FORM}")).body.contains("<form");
}

#[test]
fn jsonp_answers_with_a_script_once_it_is_switched_on() {
    let site = Site::configured(|config| config.http.jsonp = true);
    let answer = site.get(&format!("/aliases?callback=jQuery.cb_1&_=1234&{FORM}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/javascript; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cross-origin-resource-policy"), "cross-origin");
    assert_eq!(answer.header("cache-control"), "no-store");
    let json = answer.body.strip_prefix("/**/jQuery.cb_1(").unwrap().strip_suffix(");\n").unwrap();
    let alias: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!((&alias["days"], &alias["max_usage"]), (&3.into(), &5.into()));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    assert_eq!(site.manage("GET", aid, key, None).status, 200);
}

#[test]
fn jsonp_says_what_is_wrong_with_status_200_and_only_to_a_function() {
    let site = Site::configured(|config| config.http.jsonp = true);
    let refused = site.get("/aliases?callback=f&target=hidden&days=1");
    assert_eq!(refused.status, 200);
    let description = "The address needs exactly one @.";
    let expected = format!("/**/f({{\"description\":\"{description}\",\"error\":\"invalid-data\"}});\n");
    assert_eq!(refused.body, expected);
    for callback in ["", "alert(1)//", "a%3Bb", "%3Cscript%3E", "1"] {
        let answer = site.get(&format!("/aliases?callback={callback}&{FORM}"));
        answer.problem(400, "invalid-data");
    }
    for twice in ["callback=f&callback=g", "callback=f&callback=f", "callback=f&callback="] {
        let why = site.get(&format!("/aliases?{twice}&{FORM}")).problem(400, "invalid-data");
        assert_eq!(why, "Callback is given twice.");
    }
    site.get(&format!("/aliases?{FORM}")).problem(400, "invalid-data");
    site.get("/aliases").problem(405, "method-not-allowed");
}

#[test]
fn jsonp_creates_nothing_by_head() {
    let site = Site::configured(|config| {
        config.http.jsonp = true;
        config.http.create_interval = std::time::Duration::from_secs(3600);
    });
    let script = format!("/aliases?callback=f&{FORM}");
    for _ in 0..10 {
        assert_eq!(site.request("HEAD", &script, &[], None).status, 405);
    }
    for _ in 0..3 {
        assert!(site.get(&script).body.contains("updatekey"), "HEAD has been counted as an alias");
    }
}
