//! The page: static files inside the binary.
//!
//! A path is looked up as it was sent, never decoded and never joined to a directory, so there is
//! nothing a tricky one could reach.

use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{IntoResponse, Request, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::problem::Problem;

const INDEX: &str = "index.html";
const NOT_FOUND: &str = "404.html";

/// Octets of the content's SHA-256 that make its entity tag.
const TAG_LEN: usize = 16;

#[derive(Embed)]
#[folder = "assets/"]
struct Files;

/// A file of the page.
pub struct Asset {
    name: String,
    file: EmbeddedFile,
}

/// The file at `path`, if there is one.
pub fn find(path: &str) -> Option<Asset> {
    match path.strip_prefix('/')? {
        "" => Asset::named(INDEX),
        name => Asset::named(name),
    }
}

/// What a browser sees where nothing is.
pub fn not_found() -> Response {
    let mut response = Asset::named(NOT_FOUND).expect("the page is embedded").whole();
    response.set_status(StatusCode::NOT_FOUND);
    response
}

impl Asset {
    fn named(name: &str) -> Option<Self> {
        Files::get(name).map(|file| Asset { name: name.to_owned(), file })
    }

    /// The answer to a GET of this file.
    pub fn answer(self, request: &Request) -> Response {
        if request.method() != Method::GET {
            return Problem::method_not_allowed("GET, HEAD").into_response();
        }
        let tag = self.tag();
        let mut response = match request.header(header::IF_NONE_MATCH) {
            Some(known) if is_among(&tag, known) => StatusCode::NOT_MODIFIED.into_response(),
            _ => self.whole(),
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, tag.try_into().expect("quotes and letters are a header value"));
        // Kept, but asked about each time: an upgrade shows at once.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    fn whole(self) -> Response {
        Response::builder().content_type(content_type(&self.name)).body(self.file.data.into_owned())
    }

    /// A strong entity tag (RFC 9110 §8.8.3).
    fn tag(&self) -> String {
        let hash = &self.file.metadata.sha256_hash()[..TAG_LEN];
        format!("\"{}\"", data_encoding::HEXLOWER.encode(hash))
    }
}

/// `If-None-Match` compares weakly (RFC 9110 §13.1.2).
fn is_among(tag: &str, known: &str) -> bool {
    known.trim() == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
