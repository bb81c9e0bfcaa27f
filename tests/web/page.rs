//! The page: its files, and what is answered where nothing is.

use crate::site::Site;

#[test]
fn the_page_and_its_parts_are_cacheable_by_entity_tag() {
    let site = Site::start();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/logo.svg", "image/svg+xml"),
    ] {
        let whole = site.get(path);
        assert_eq!((whole.status, whole.header("content-type")), (200, kind), "{path}");
        assert_eq!(whole.header("cache-control"), "no-cache");
        let tag = whole.header("etag");
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{tag}");

        let head = site.request("HEAD", path, &[], None);
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.header("content-length"), whole.body.len().to_string());
        assert_eq!((head.header("etag"), head.header("content-type")), (tag, kind));

        for known in [tag.to_owned(), format!("\"other\", W/{tag}"), "*".into()] {
            let unchanged = site.request("GET", path, &[("If-None-Match", &known)], None);
            assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""), "{known}");
            assert_eq!(unchanged.header("etag"), tag);
        }
        assert_eq!(site.request("GET", path, &[("If-None-Match", "\"other\"")], None).status, 200);
    }
}

#[test]
fn the_page_refers_to_nothing_but_files_of_ours_and_has_nothing_inline() {
    let site = Site::start();
    for page in ["/", "/404.html"] {
        let html = site.get(page).body;
        for forbidden in ["<style", "style=", " onclick", " onload", " onsubmit", "javascript:", "http://"] {
            assert!(!html.contains(forbidden), "{page}: {forbidden}");
        }
        for reference in html.split("src=\"").chain(html.split("href=\"")).skip(1) {
            let reference = reference.split('"').next().unwrap();
            if let Some(path) = reference.strip_prefix('/').filter(|path| !path.contains('<')) {
                assert_eq!(site.get(&format!("/{path}")).status, 200, "{page}: {reference}");
            }
        }
    }
}

#[test]
fn where_nothing_is_browsers_see_a_page_and_programs_json() {
    let site = Site::start();
    for path in ["/nothing", "/aliases/", "/aliases/a/b", "/index.html/", "/aliasesx"] {
        site.get(path).problem(404, "not-found");
        let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
        let page = site.request("GET", path, &[("Accept", accept)], None);
        assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
        assert!(page.body.contains("<h1"), "{page:?}");
    }
}

#[test]
fn path_tricks_lead_nowhere() {
    let site = Site::start();
    for path in [
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/..%2fCargo.toml",
        "/assets/../Cargo.toml",
        "/./style.css",
        "//style.css",
        "//",
        "/style.css%00",
        "/%00",
        "/%73tyle.css",
        "/style.css/",
        "/STYLE.CSS",
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
