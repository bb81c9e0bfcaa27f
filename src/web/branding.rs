//! Branding: what the pages show of this installation, and what their scripts need to know of it.

use serde_json::json;

use super::html::escape;
use crate::address::Domain;
use crate::config::{Colour, Config, Link, Origin, Url};

/// In examples, when `http.public_url` is not set; a script puts the real origin there.
const SOME_SITE: &str = "https://this.site";

/// The colour of the page (`--paper` in `style.css`) in light and in dark, for browsers' own bars.
const PAPER: [&str; 2] = ["#fdf6ee", "#17141c"];

/// What the operator has set for the page.
pub struct Branding<'a>(pub &'a Config);

impl Branding<'_> {
    /// A small JSON object: the site's name, colour and contacts, and the most that it grants. All that pages show
    /// of the configuration is in it.
    pub fn document(&self) -> String {
        let Config { http, domains, aliases, .. } = self.0;
        let document = json!({
            "name": http.name,
            "accent": http.accent.as_ref().map(Colour::as_str),
            "imprint": http.imprint.as_ref().map(Url::as_str),
            "contact": http.contact.as_ref().map(Link::as_str),
            "source": http.source.as_ref().map(Url::as_str),
            "url": http.public_url.as_ref().map(Origin::as_str),
            "domains": domains.iter().map(Domain::as_str).collect::<Vec<_>>(),
            "max_days": aliases.max_days,
            "max_usage": aliases.max_usage,
            "version": env!("CARGO_PKG_VERSION"),
        });
        document.to_string()
    }

    /// The site's name.
    pub fn name(&self) -> &str {
        &self.0.http.name
    }

    /// The part of the style sheet with the operator's colour; `style.css` derives its own from it.
    pub fn style(&self) -> String {
        let accent = self.0.http.accent.as_ref();
        accent.map_or_else(String::new, |colour| format!("\n:root {{ --operator: {}; }}\n", colour.as_str()))
    }

    /// The manifest `template`, with the site's name and colour in it.
    pub fn manifest(&self, template: &[u8]) -> Vec<u8> {
        let template = String::from_utf8_lossy(template);
        let template = template.replace("{{bar}}", &self.bar(PAPER[0]));
        template.replace("\"{{site}}\"", &json!(self.name()).to_string()).into_bytes()
    }

    /// What stands for `{{key}}` in a page, as HTML; none: the operator has not set it.
    pub fn html(&self, key: &str) -> Option<String> {
        let Config { http, domains, .. } = self.0;
        let option = |domain: &Domain| format!("<option>{}</option>", escape(domain.as_str()));
        match key {
            "site" => Some(escape(self.name())),
            "origin" => Some(escape(http.public_url.as_ref().map_or(SOME_SITE, Origin::as_str))),
            "imprint" => http.imprint.as_ref().map(|url| escape(url.as_str())),
            "source" => http.source.as_ref().map(|url| escape(url.as_str())),
            "contact" => http.contact.as_ref().map(|link| escape(&href(link.as_str()))),
            "theme" => Some(if http.accent.is_some() { "dressed" } else { "plain" }.to_owned()),
            "bar.light" => Some(self.bar(PAPER[0])),
            "bar.dark" => Some(self.bar(PAPER[1])),
            // None when there is no choice.
            "domains" => (domains.len() > 1).then(|| domains.iter().map(option).collect()),
            _ => None,
        }
    }

    /// The colour of a browser's bar: the operator's, or else `paper`.
    fn bar(&self, paper: &str) -> String {
        self.0.http.accent.as_ref().map_or(paper, Colour::as_str).to_owned()
    }
}

/// A link to a web address, or to write to a mail address (RFC 6068 §2: what could be taken for
/// more than the address is encoded).
fn href(link: &str) -> String {
    if link.contains("://") {
        return link.to_owned();
    }
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"@.-_+~".contains(&octet);
    let encoded =
        |octet| if is_plain(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") };
    format!("mailto:{}", link.bytes().map(encoded).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_mail_address_says_no_more_than_the_address() {
        assert_eq!(href("https://example.com/?a=b&c"), "https://example.com/?a=b&c");
        assert_eq!(href("me+you@example.com"), "mailto:me+you@example.com");
        assert_eq!(href("a?cc=b&d%@example.com"), "mailto:a%3Fcc%3Db%26d%25@example.com");
    }
}
