//! The page: its files, and what is answered where nothing is.

use std::collections::BTreeMap;
use std::io::Read;

use super::site::Site;

const PAGES: [&str; 7] = ["/", "/mine", "/manage", "/about", "/privacy", "/plugins", "/fill"];

/// A page that does not exist, in a browser.
fn lost(site: &Site, language: &str) -> String {
    let headers = [("Accept", "text/html"), ("Accept-Language", language)];
    site.request("GET", "/nothing", &headers, None).body
}

#[test]
fn pages_are_asked_about_each_time_and_their_parts_are_kept_for_ever() {
    let site = Site::start();
    for path in site.parts("/") {
        let whole = site.get(&path);
        assert_eq!(whole.status, 200, "{path}");
        if path == "/openapi.json" {
            continue;
        }
        let is_named = ["/", "/manifest.webmanifest", "/site.json"].contains(&path.as_str());
        let keep = if is_named { "no-cache" } else { "public, max-age=31536000, immutable" };
        assert_eq!(whole.header("cache-control"), keep, "{path}");
        assert_ne!(whole.header("content-type"), "application/octet-stream", "{path}");
    }
}

#[test]
fn every_part_has_a_strong_entity_tag_for_each_form_and_is_not_sent_twice() {
    let site = Site::start();
    for path in site.parts("/").iter().filter(|path| *path != "/openapi.json") {
        let mut tags = Vec::new();
        for coding in ["", "gzip", "br"] {
            let accept = [("Accept-Encoding", coding)];
            let whole = site.request("GET", path, &accept, None);
            let tag = whole.header("etag").to_owned();
            assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{path}: {tag}");

            let head = site.request("HEAD", path, &accept, None);
            assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
            assert_eq!(head.header("content-length"), whole.octets.len().to_string(), "{path}");
            assert_eq!(head.header("etag"), tag);

            for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".into()] {
                let headers = [accept[0], ("If-None-Match", known.as_str())];
                let unchanged = site.request("GET", path, &headers, None);
                assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""), "{path}: {known}");
                assert_eq!(unchanged.header("etag"), tag);
                assert_eq!(unchanged.header("vary"), whole.header("vary"));
                assert_eq!(unchanged.header("cache-control"), whole.header("cache-control"));
            }
            let headers = [accept[0], ("If-None-Match", "\"other\"")];
            assert_eq!(site.request("GET", path, &headers, None).status, 200);
            if !whole.header("content-encoding").is_empty() || coding.is_empty() {
                tags.push(tag);
            }
        }
        let forms = tags.len();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), forms, "{path}: two forms have the same tag");
    }
}

#[test]
fn the_client_chooses_how_it_is_compressed() {
    let site = Site::start();
    let plain = site.get("/");
    assert_eq!(
        (plain.header("content-encoding"), plain.header("vary")),
        ("", "Accept-Encoding, Accept-Language")
    );
    for (accepted, coding) in [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0.1, gzip;q=0.9", "gzip"),
        ("br;q=0, *", "gzip"),
        ("*", "br"),
        ("identity", ""),
        ("zstd", ""),
        ("br;q=0, gzip;q=0", ""),
        ("", ""),
    ] {
        let answer = site.request("GET", "/", &[("Accept-Encoding", accepted)], None);
        assert_eq!(answer.header("content-encoding"), coding, "{accepted}");
        let mut decoded = Vec::new();
        match coding {
            "br" => drop(brotli::Decompressor::new(&*answer.octets, 4096).read_to_end(&mut decoded).unwrap()),
            "gzip" => drop(flate2::read::GzDecoder::new(&*answer.octets).read_to_end(&mut decoded).unwrap()),
            _ => decoded.clone_from(&answer.octets),
        }
        assert!(decoded == plain.octets, "{accepted}");
    }
}

#[test]
fn the_front_page_and_all_it_loads_are_small() {
    let site = Site::start();
    for language in ["en", "de"] {
        let mut sizes = BTreeMap::new();
        let page = format!("/{language}/");
        for path in site.parts(&page).into_iter().filter(|path| path != "/openapi.json") {
            let answer = site.request("GET", &path, &[("Accept-Encoding", "br")], None);
            assert_eq!(answer.status, 200, "{path}");
            sizes.insert(path, answer.octets.len());
        }
        assert!(sizes.len() > 10, "{sizes:#?}");
        let total: usize = sizes.values().sum();
        assert!(total < 40_000, "{total}: {sizes:#?}");
    }
}

#[test]
fn pages_refer_to_nothing_but_files_of_ours_and_have_nothing_inline() {
    let site = Site::start();
    let pages = PAGES.map(|path| (path, site.get(path).body));
    let answers = [
        ("created", site.submit("target=hidden.person@mailbox.example&days=1", &[]).body),
        ("refused", site.submit("", &[]).body),
        ("not found", lost(&site, "en")),
    ];
    for (name, html) in pages.into_iter().chain(answers) {
        for forbidden in
            ["<style", " style=", " onclick", " onload", " onsubmit", "javascript:", "http://", "{{"]
        {
            assert!(!html.contains(forbidden), "{name}: {forbidden}");
        }
        assert!(!html.replace("https://this.site", "").contains("https://"), "{name} names another site");
        for script in html.split("<script").skip(1) {
            assert!(script.starts_with(" type=\"module\" src=\"/"), "{name}: a script of its own");
        }
        for reference in html.split("src=\"").chain(html.split("href=\"")).skip(1) {
            let reference = reference.split(['"', '#']).next().unwrap();
            if reference.starts_with('/') {
                assert_eq!(site.get(reference).status, 200, "{name}: {reference}");
            }
        }
    }
}

#[test]
fn scripts_and_styles_name_no_other_site() {
    let site = Site::start();
    let mut parts: Vec<_> = PAGES.iter().flat_map(|page| site.parts(page)).collect();
    parts.sort();
    parts.dedup();
    for path in parts.iter().filter(|path| path.ends_with(".js") || path.ends_with(".css")) {
        let text = site.get(path).body;
        for forbidden in
            ["http://", "https://", "url(//", "eval(", "innerHTML", "document.write", "insertAdjacentHTML"]
        {
            assert!(!text.contains(forbidden), "{path}: {forbidden}");
        }
    }
}

#[test]
fn a_page_comes_in_the_language_that_is_asked_for() {
    let site = Site::start();
    let asked = |path: &str, list: &str| site.request("GET", path, &[("Accept-Language", list)], None);
    for (path, list, language) in [
        ("/", "de-AT,de;q=0.9,en;q=0.8", "de"),
        ("/", "en-GB,en;q=0.9,de;q=0.8", "en"),
        ("/", "fr", "en"),
        ("/", "", "en"),
        ("/about", "de", "de"),
        ("/de/about", "en", "de"),
        ("/en/", "de", "en"),
    ] {
        let page = asked(path, list);
        assert!(page.body.contains(&format!("<html lang=\"{language}\"")), "{path} for {list:?}");
        let expected = if path.len() > 4 && path[3..].starts_with('/') || path == "/en/" {
            "Accept-Encoding"
        } else {
            "Accept-Encoding, Accept-Language"
        };
        assert_eq!(page.header("vary"), expected, "{path}");
    }
    // Who has chosen a language keeps it.
    assert!(asked("/de/about", "en").body.contains("href=\"/de/privacy\""));
    assert!(asked("/about", "de").body.contains("href=\"/privacy\""));
    assert!(lost(&site, "de").contains("<html lang=\"de\""));
}

#[test]
fn every_language_has_every_text_and_every_long_page() {
    let read = |language: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(format!("assets/messages/{language}.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let languages = ["en", "de"];
    let keys = |language: &str| -> Vec<String> {
        let catalogue = read(language);
        let parts = catalogue.as_object().unwrap().iter();
        let mut keys: Vec<_> = parts
            .flat_map(|(part, texts)| {
                texts.as_object().unwrap().iter().map(move |(key, text)| {
                    assert!(!text.as_str().unwrap().trim().is_empty(), "{language}: {key} is empty");
                    format!("{part}: {key}")
                })
            })
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(keys("en"), keys("de"));
    let placeholders = |language: &str| -> BTreeMap<String, Vec<String>> {
        let catalogue = read(language);
        let parts = ["script", "problem"].map(|part| catalogue[part].as_object().unwrap().clone());
        let texts = parts.into_iter().flatten();
        let found = |text: &str| {
            let mut names: Vec<_> =
                text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        texts.map(|(key, text)| (key, found(text.as_str().unwrap()))).collect()
    };
    assert_eq!(placeholders("en"), placeholders("de"));
    for entry in std::fs::read_dir("assets/pages").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let [page, _, "html"] = name.split('.').collect::<Vec<_>>()[..] {
            for language in languages {
                let path = format!("assets/pages/{page}.{language}.html");
                assert!(std::path::Path::new(&path).exists(), "{path} is missing");
            }
        }
    }
}

#[test]
fn every_text_is_used_and_every_text_that_scripts_use_is_there() {
    let text = std::fs::read_to_string("assets/messages/en.json").unwrap();
    let catalogue: serde_json::Value = serde_json::from_str(&text).unwrap();
    let all = |folder: &str, kinds: &[&str]| -> String {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let wanted =
            files.filter(|path| kinds.iter().any(|kind| path.extension().is_some_and(|is| is == *kind)));
        wanted.map(|path| std::fs::read_to_string(path).unwrap()).collect()
    };
    let html = all("assets", &["html"]) + &all("assets/pages", &["html"]);
    for key in catalogue["page"].as_object().unwrap().keys() {
        let short = key.split_once('.').map_or(key.as_str(), |(_, rest)| rest);
        let is_used = [key.as_str(), short].iter().any(|key| html.contains(&format!("{{{{{key}}}}}")));
        assert!(is_used, "no page uses {key}");
    }
    let scripts = all("assets", &["js"]);
    let texts = catalogue["script"].as_object().unwrap();
    for key in texts.keys() {
        let stem = key.trim_end_matches(".one").trim_end_matches(".other");
        let is_used = scripts.contains(&format!("\"{stem}\"")) || key.starts_with("state.");
        assert!(is_used, "no script uses {key}");
    }
    for call in scripts.split(" t(\"").skip(1).chain(scripts.split("(t(\"").skip(1)) {
        let key = call.split('"').next().unwrap();
        assert!(texts.contains_key(key), "no text for {key}");
    }
}

#[test]
fn scripts_can_translate_every_sentence_about_an_address() {
    let site = Site::configured(|config| {
        config.aliases.forbidden_targets = vec!["forbidden.example".parse().unwrap()];
    });
    let page = site.get("/de/").body;
    let messages = page.split("data-messages=\"").nth(1).unwrap().split('"').next().unwrap();
    let messages = site.get(messages).json();
    let long = format!("{}@mailbox.example", "x".repeat(250));
    for target in [
        "",
        "a",
        "a b@c.example",
        "a@b@c.example",
        "ä@b.example",
        "a@b",
        "a..b@c.example",
        "a@demo.test",
        "a@forbidden.example",
        &long,
    ] {
        let why = site.post(&serde_json::json!({"target": target, "days": 1}).to_string());
        let why = why.problem(400, "invalid-data");
        assert!(messages[&why].as_str().is_some_and(|german| german != why), "{target}: {why}");
    }
}

#[test]
fn the_branding_is_a_small_document() {
    let plain = Site::start().get("/site.json");
    assert_eq!((plain.status, plain.header("content-type")), (200, "application/json"));
    assert_eq!(plain.json()["name"], "tempalias");
    assert_eq!(plain.json()["domains"], serde_json::json!(["demo.test", "second.test"]));
    let site = Site::configured(|config| {
        config.http.name = "Wegwerf".into();
        config.http.accent = Some("#0a7d5a".to_owned().try_into().unwrap());
        config.http.imprint = Some("https://example.com/imprint".to_owned().try_into().unwrap());
        config.http.contact = Some("abuse@example.com".to_owned().try_into().unwrap());
        config.http.source = Some("https://example.com/source".to_owned().try_into().unwrap());
        config.aliases.max_days = 7;
    });
    let branding = site.get("/site.json").json();
    for (key, value) in [
        ("name", "Wegwerf"),
        ("accent", "#0a7d5a"),
        ("imprint", "https://example.com/imprint"),
        ("contact", "abuse@example.com"),
        ("source", "https://example.com/source"),
    ] {
        assert_eq!(branding[key], value);
    }
    assert_eq!(branding["max_days"], 7);
}

#[test]
fn the_branding_needs_no_script_and_cannot_break_a_page() {
    let plain = Site::start();
    for path in PAGES {
        let page = plain.get(path).body;
        assert!(page.contains("<span>tempalias</span>") && page.contains("class=\"plain\""), "{path}");
        for (theme, paper) in [("light", "#fdf6ee"), ("dark", "#17141c")] {
            let bar = format!("content=\"{paper}\" media=\"(prefers-color-scheme: {theme})\"");
            assert!(page.contains(&bar), "{path}, {theme}");
        }
        for link in ["mailto:", "rel=\"external\"", "{{"] {
            assert!(!page.contains(link), "{path} has {link} though nothing is set");
        }
    }
    let site = Site::configured(|config| {
        config.http.name = "<i>\"A\" & {{=why}} {{B".into();
        config.http.accent = Some("#0a7d5a".to_owned().try_into().unwrap());
        config.http.imprint = Some("https://example.com/\"?a&b='".to_owned().try_into().unwrap());
        config.http.contact = Some("we&you@example.com".to_owned().try_into().unwrap());
        config.http.source = Some("https://example.com/source".to_owned().try_into().unwrap());
        config.http.public_url = Some("https://alias.example".to_owned().try_into().unwrap());
    });
    let answers = [site.submit("target=hidden.person@mailbox.example&days=1", &[]), site.submit("", &[])];
    let answers = answers.into_iter().map(|answer| answer.body).chain([lost(&site, "de")]);
    for page in PAGES.map(|path| site.get(path).body).into_iter().chain(answers) {
        for expected in [
            "<span>&lt;i&gt;&quot;A&quot; &amp; &#123;&#123;=why}} &#123;&#123;B</span>",
            "href=\"https://example.com/&quot;?a&amp;b=&#39;\"",
            "href=\"mailto:we%26you@example.com\"",
            "href=\"https://example.com/source\"",
            "class=\"dressed\"",
            "<meta name=\"theme-color\" content=\"#0a7d5a\" media=\"(prefers-color-scheme: light)\">",
            "<meta name=\"theme-color\" content=\"#0a7d5a\" media=\"(prefers-color-scheme: dark)\">",
        ] {
            assert!(page.contains(expected), "no {expected} in {page}");
        }
        assert!(!page.contains("<i>"));
        let title = page.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
        assert!(title.contains("&lt;i&gt;"), "{title}");
    }
    assert!(site.get("/about").body.matches("https://example.com/source").count() > 1);
    assert!(site.get("/plugins").body.contains("https://alias.example</span>/aliases"));
    let style = site.parts("/").into_iter().find(|part| part.ends_with(".css")).unwrap();
    assert!(site.get(&style).body.contains("--operator: #0a7d5a;"));
    let manifest = site.get("/manifest.webmanifest").json();
    assert_eq!(manifest["name"], "<i>\"A\" & {{=why}} {{B");
    assert_eq!(
        (&manifest["theme_color"], &manifest["background_color"]),
        (&"#0a7d5a".into(), &"#fdf6ee".into())
    );
}

#[test]
fn who_has_several_domains_offers_them_also_without_a_script() {
    let page = Site::start().get("/").body;
    assert!(page.contains("<option>demo.test</option><option>second.test</option>"), "{page}");
    let alone = Site::configured(|config| config.domains.truncate(1)).get("/").body;
    assert!(!alone.contains("<select"));
}

#[test]
fn where_nothing_is_browsers_see_a_page_and_programs_json() {
    let site = Site::start();
    for path in
        ["/nothing", "/aliases/", "/aliases/a/b", "/index.html/", "/aliasesx", "/fr/about", "/layout.html"]
    {
        site.get(path).problem(404, "not-found");
        let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
        let page = site.request("GET", path, &[("Accept", accept)], None);
        assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
        assert!(page.body.contains("<h1"), "{page:?}");
        let coded = site.request("GET", path, &[("Accept", accept), ("Accept-Encoding", "gzip, br")], None);
        assert_eq!((coded.status, coded.header("content-encoding")), (404, "br"), "{path}");
        assert!(coded.octets.len() < page.octets.len() / 2);
        for answer in [page, coded] {
            assert_eq!(answer.header("vary"), "Accept, Accept-Encoding, Accept-Language", "{path}");
        }
    }
}

#[test]
fn a_language_without_its_slash_is_where_it_should_be() {
    let site = Site::start();
    for language in ["de", "en"] {
        let answer = site.get(&format!("/{language}"));
        assert_eq!((answer.status, answer.header("location")), (308, format!("/{language}/").as_str()));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    site.get("/fr").problem(404, "not-found");
    site.get("//de").problem(404, "not-found");
}

#[test]
fn path_tricks_lead_nowhere() {
    let site = Site::start();
    let style = site.parts("/").into_iter().find(|path| path.ends_with(".css")).unwrap();
    let encoded = style.replacen("/s", "/%73", 1);
    for path in [
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/..%2fCargo.toml",
        "/assets/../Cargo.toml",
        &format!("/.{style}"),
        &format!("/{style}"),
        "//",
        &format!("{style}%00"),
        "/%00",
        &encoded,
        &format!("{style}/"),
        &style.to_uppercase(),
        "/style.css",
        "/pages/index.html",
        "/messages/en.json",
        "/..\\Cargo.toml",
        "/.git/config",
        "/aliases/../healthz",
    ] {
        site.get(path).problem(404, "not-found");
    }
    for (line, status) in [("OPTIONS * HTTP/1.1", 404), ("CONNECT demo.test:25 HTTP/1.1", 404)] {
        let answer = site.raw(format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
        answer.problem(status, "not-found");
    }
}
