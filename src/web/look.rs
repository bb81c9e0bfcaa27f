//! The operator's look: what the page's scripts need to know of this installation.

use serde_json::json;

use crate::address::Domain;
use crate::config::{Colour, Config, Link, Origin};

/// A small JSON object: what the site is called, its colour, whom to ask, and what it grants.
pub fn document(config: &Config) -> String {
    let http = &config.http;
    let source = Some(env!("CARGO_PKG_REPOSITORY")).filter(|url| !url.is_empty());
    let document = json!({
        "name": http.name,
        "accent": http.accent.as_ref().map(Colour::as_str),
        "imprint": http.imprint.as_ref().map(Link::as_str),
        "contact": http.contact.as_ref().map(Link::as_str),
        "url": http.public_url.as_ref().map(Origin::as_str),
        "domains": config.domains.iter().map(Domain::as_str).collect::<Vec<_>>(),
        "max_days": config.aliases.max_days,
        "max_usage": config.aliases.max_usage,
        "source": source,
        "version": env!("CARGO_PKG_VERSION"),
    });
    document.to_string()
}
