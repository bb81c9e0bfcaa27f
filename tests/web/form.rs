//! The form without a script, JSONP, and who may send them.

use std::io::Write;
use std::net::Shutdown;

use tempalias::clock;

use super::site::{Answer, Site, read_answer};

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
fn who_has_chosen_a_language_keeps_it_without_a_script() {
    let site = Site::start();
    let send = |language: &str, form: &str| {
        let page = site.get(&format!("/{language}/")).body;
        let path = page.split("action=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let other = if language == "de" { "en" } else { "de" };
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Accept", "text/html"),
            ("Accept-Language", other),
        ];
        site.request("POST", &path, &headers, Some(form))
    };
    let lost = |language: &str| {
        site.request("GET", &format!("/{language}/nothing"), &[("Accept", "text/html")], None)
    };
    for language in ["de", "en"] {
        for (answer, status) in
            [(send(language, FORM), 201), (send(language, ""), 400), (lost(language), 404)]
        {
            assert_eq!(answer.status, status);
            assert!(answer.body.contains(&format!("<html lang=\"{language}\"")), "{}", answer.body);
            let header = answer.body.split("<footer>").next().unwrap();
            let links = header.split("<a ").skip(1).filter_map(|link| link.split("href=\"").nth(1));
            for link in links.filter(|link| link.starts_with('/')) {
                assert!(link.starts_with(&format!("/{language}/")), "{link}");
            }
        }
    }
    assert!(site.get("/").body.contains("action=\"/aliases\""));
    for path in ["/fr/aliases", "/de/aliases/", "/de/de/aliases"] {
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        site.request("POST", path, &[kind], Some(FORM)).problem(404, "not-found");
    }
}

#[test]
fn a_limit_that_was_left_empty_is_none() {
    let site = Site::start();
    let page = site.submit("target=hidden.person%40mailbox.example&days=&max-usage=5", &[]);
    assert_eq!(page.status, 201, "{page:?}");
    let page = site.submit("target=hidden.person%40mailbox.example&days=&max-usage=", &[]);
    assert_eq!(page.status, 400);
}

/// What a refusal says, in English and in German, having checked that it is a page which repeats nothing.
#[track_caller]
fn refusals(status: u16, ask: impl Fn(&[(&str, &str)]) -> Answer) -> [String; 2] {
    ["en", "de"].map(|language| {
        let page = ask(&[("Accept-Language", language)]);
        assert_eq!(
            (page.status, page.header("content-type")),
            (status, "text/html; charset=utf-8"),
            "{page:?}"
        );
        assert_eq!(page.header("cache-control"), "no-store");
        assert!(
            page.body.contains(&format!("<html lang=\"{language}\"")) && !page.body.contains("secretive")
        );
        page.body.split("<p class=\"lead\">").nth(1).unwrap().split("</p>").next().unwrap().to_owned()
    })
}

#[test]
fn what_is_wrong_with_a_form_is_said_on_a_page_in_its_language_without_repeating_it() {
    let forbidden = "corp.example".parse().unwrap();
    let site = Site::configured(|config| config.aliases.forbidden_targets = vec![forbidden]);
    let limits = "days=1&max-usage=5";
    let long = format!("target={}%40b.example&days=1", "x".repeat(254));
    let in_hours = |hours| clock::now().checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
    let whole = [
        "The number of days must be a whole number, 1 or more.",
        "Die Zahl der Tage muss eine ganze Zahl sein, 1 oder mehr.",
    ];
    let missing = [
        "Please enter the address that messages go to.",
        "Bitte gib die Adresse ein, an die Nachrichten gehen sollen.",
    ];
    for (form, said) in [
        (
            format!("target=secretive&{limits}"),
            ["An address has exactly one @", "Eine Adresse hat genau ein @"],
        ),
        (
            format!("target=a%40b%40c.example&{limits}"),
            ["An address has exactly one @", "Eine Adresse hat genau ein @"],
        ),
        (
            format!("target=secretive%40demo.test&{limits}"),
            ["That is an address of this service", "Das ist eine Adresse dieses Dienstes"],
        ),
        (
            format!("target=a+b%40c.example&{limits}"),
            ["An address has no spaces", "In einer Adresse gibt es keine Leerzeichen"],
        ),
        (
            format!("target=%C3%A4%40c.example&{limits}"),
            ["We can’t forward to addresses with letters", "An Buchstaben wie ä"],
        ),
        (format!("target=a..b%40c.example&{limits}"), ["The part before the @", "Der Teil vor dem @"]),
        (format!("target=a%40b&{limits}"), ["The part after the @", "Hinter dem @ muss eine Domain stehen"]),
        (long, ["That address is too long", "Diese Adresse ist zu lang"]),
        (String::new(), missing),
        (format!("target=&{limits}"), missing),
        ("target=a%40b.example&days=none".into(), whole),
        ("target=a%40b.example&days=0".into(), whole),
        ("target=a%40b.example&days=-1".into(), whole),
        ("target=a%40b.example&days=1.5".into(), whole),
        (
            "target=a%40b.example&max-usage=x".into(),
            ["The number of messages must be", "Die Zahl der Nachrichten muss"],
        ),
        (
            "target=a%40b.example&days=99999999999".into(),
            ["The number of days is far too large.", "Die Zahl der Tage ist viel zu groß."],
        ),
        (
            "target=a%40b.example&days=1&days=2".into(),
            ["The field “days” was sent twice.", "Das Feld „Tage“ ist doppelt angekommen."],
        ),
        (
            "target=a%40b.example&days=1&else=2".into(),
            ["There is no field “else”", "Ein Feld „else“ gibt es in diesem Formular nicht."],
        ),
        (
            "target=a%40b.example&days=1&copied=2".into(),
            ["There is no field “copied”", "Ein Feld „copied“ gibt es in diesem Formular nicht."],
        ),
        (
            "target=a%40b.example&days=1&e%20l=2".into(),
            ["There is a field that doesn’t belong in this form.", "Es ist ein Feld angekommen"],
        ),
        (
            "target=a%40b.example".into(),
            ["Please choose how long the alias lives", "Bitte wähle, wie lange der Alias lebt"],
        ),
        (
            "target=a%40b.example&days=1&domain=else.test".into(),
            [
                "The alias can only be at one of these domains: demo.test, second.test.",
                "Den Alias gibt es nur bei diesen Domains: demo.test, second.test.",
            ],
        ),
        (
            "target=root%40mx.demo.test&days=1".into(),
            ["That is an address of this service.", "Das ist eine Adresse dieses Dienstes."],
        ),
        (
            "target=a%40corp.example&days=1".into(),
            ["We don’t forward to that address.", "An diese Adresse leiten wir nicht weiter."],
        ),
        (
            "target=a%40b.example&days=1&valid-until=2999-01-01T00:00:00Z".into(),
            ["Please give either", "Bitte gib entweder"],
        ),
        (
            "target=a%40b.example&valid-until=2020-01-01T00:00:00Z".into(),
            ["The end lies in the past.", "Das Ende liegt in der Vergangenheit."],
        ),
        (
            format!("target=a%40b.example&valid-from={}&valid-until={}", in_hours(48), in_hours(24)),
            ["The end must be later than the start.", "Das Ende muss nach dem Anfang liegen."],
        ),
        (
            "target=a%40b.example&valid-until=soon".into(),
            ["“valid-until” must be an instant", "„valid-until“ muss ein Zeitpunkt"],
        ),
    ] {
        let refused = refusals(400, |language| site.submit(&form, language));
        assert!(refused[0].starts_with(said[0]) && refused[1].starts_with(said[1]), "{form}: {refused:?}");
    }
}

#[test]
fn every_other_refusal_of_a_form_is_a_page_in_its_language_too() {
    let site = Site::start();
    let too_much =
        refusals(413, |language| site.submit(&format!("{FORM}&else={}", "x".repeat(1024)), language));
    assert_eq!(
        too_much,
        ["That is too much: more than 1024 bytes.", "Das ist zu viel: mehr als 1024 Bytes."]
    );
    let json = refusals(415, |language| site.submit("{\"target\": \"a@b.example\"}", language));
    assert!(json[0].starts_with("That was JSON") && json[1].starts_with("Das war JSON"), "{json:?}");
    let foreign =
        refusals(403, |language| site.submit(FORM, &[language[0], ("Sec-Fetch-Site", "cross-site")]));
    assert_eq!(
        foreign,
        [
            "This form can only be sent from our own page.",
            "Dieses Formular kann nur von unserer eigenen Seite gesendet werden."
        ]
    );

    let raw = |language: &[(&str, &str)], length: &str, ends: bool| {
        let (name, value) = language[0];
        let mut stream = site.connect();
        let head = format!(
            "POST /aliases HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: text/html\r\n{name}: {value}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n{length}\r\ntarget="
        );
        stream.write_all(head.as_bytes()).unwrap();
        if ends {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        read_answer(&mut stream)
    };
    let nothing = refusals(411, |language| raw(language, "", false));
    assert!(nothing[0].starts_with("Nothing came") && nothing[1].starts_with("Mit dem Formular ist nichts"));
    let cut = refusals(400, |language| raw(language, "Content-Length: 20\r\n", true));
    assert!(cut[0].contains("arrive in full") && cut[1].contains("nicht ganz angekommen"), "{cut:?}");
    let slow = refusals(408, |language| raw(language, "Content-Length: 20\r\n", false));
    assert!(slow[0].contains("arrive in time") && slow[1].contains("nicht rechtzeitig"), "{slow:?}");

    site.runtime.block_on(site.ledger.close());
    let closed = refusals(503, |language| site.submit(FORM, language));
    assert!(
        closed[0].starts_with("We can’t do this right now") && closed[1].starts_with("Das geht gerade nicht")
    );
    assert_ne!(site.submit(FORM, &[]).header("retry-after"), "");
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
        (&[("Sec-Fetch-Site", "cross-site"), ("Origin", "null")], 403),
        (&[("Sec-Fetch-Site", "same-site")], 403),
        (&[("Sec-Fetch-Site", "same-origin"), ("Origin", "https://else.example")], 201),
        (&[("Sec-Fetch-Site", "none")], 201),
        (&[("Origin", "https://else.example")], 403),
        (&[("Origin", "chrome-extension://localhost")], 403),
        (&[("Origin", "null"), ("Referer", "http://else.example/form?localhost")], 403),
        (&[("Origin", "null"), ("Referer", "http://localhost/de/")], 201),
        (&[("Referer", "http://else.example/")], 403),
        (&[("Origin", "http://localhost")], 201),
        (&[("Origin", "https://alias.example")], 201),
        (&[("Origin", "https://alias.example.else.example")], 403),
        (&[("Origin", "https://alias.example@else.example")], 403),
        (&[], 201),
    ] {
        let page = site.submit(FORM, headers);
        assert_eq!(page.status, status, "{headers:?}");
    }
}

/// Over plain HTTP browsers send no `Sec-Fetch-Site` but to localhost. Where a page's policy is
/// `no-referrer`, they hide its origin from itself.
#[test]
fn our_own_form_is_taken_over_plain_http_whatever_the_host_looks_like() {
    let site = Site::start();
    for (host, origin, status) in [
        ("alias.test", "null", 201),
        ("alias.test:8080", "null", 201),
        ("alias.test.", "null", 201),
        ("alias.test.:8080", "null", 201),
        ("192.0.2.1:8080", "null", 201),
        ("alias.test", "http://alias.test", 201),
        ("ALIAS.test", "http://alias.test", 201),
        ("alias.test:8080", "http://alias.test:8080", 201),
        ("alias.test.", "http://alias.test.", 201),
        ("alias.test.:8080", "http://alias.test.:8080", 201),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080", 201),
        // Of proxies: without the port, with the usual one, without the dot.
        ("alias.test", "http://alias.test:8080", 201),
        ("alias.test:80", "http://alias.test", 201),
        ("alias.test:443", "https://alias.test", 201),
        ("alias.test", "http://alias.test.", 201),
        // Those of other sites.
        ("alias.test:8080", "http://alias.test:8081", 403),
        ("alias.test:8080", "http://alias.test", 403),
        ("alias.test", "http://test", 403),
        ("alias.test", "http://else.alias.test", 403),
        ("192.0.2.1", "http://192.0.2.10", 403),
    ] {
        let page = site.submit(FORM, &[("Host", host), ("Origin", origin)]);
        assert_eq!(page.status, status, "{host}, {origin}");
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
