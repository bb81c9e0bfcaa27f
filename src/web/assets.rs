//! A file as it is served: compressed once for each encoding, with an entity tag.

use std::io::Write;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Body, IntoResponse, Request, Response};

use super::negotiation;
use super::problem::Problem;

/// Octets of the content's SHA-256 that make its entity tag.
const TAG_LEN: usize = 16;

/// Brotli's highest quality: it takes some milliseconds, once.
const BROTLI_QUALITY: u32 = 11;

/// Brotli's window, 2^22 octets: the largest that every decoder takes (RFC 7932 §9.1).
const BROTLI_WINDOW: u32 = 22;

/// `Cache-Control` of a file whose name changes with its content.
pub const KEEP_FOR_EVER: &str = "public, max-age=31536000, immutable";

/// That of others, which are asked about each time: an upgrade shows at once.
pub const ASK_AGAIN: &str = "no-cache";

/// A file, ready to be sent.
pub struct Asset {
    content_type: &'static str,
    cache_control: &'static str,
    /// What the answer depends on beside its path.
    pub vary: &'static str,
    /// Its window may talk to the page that opened it, of another site.
    pub talks_to_opener: bool,
    hash: String,
    plain: Vec<u8>,
    brotli: OnceLock<Vec<u8>>,
    gzip: OnceLock<Vec<u8>>,
}

/// The form in which it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Brotli,
    Gzip,
}

impl Asset {
    /// A file called `name` with `content`.
    pub fn new(name: &str, content: Vec<u8>, cache_control: &'static str) -> Self {
        let content_type = content_type(name);
        let vary = if is_text(content_type) { "Accept-Encoding" } else { "" };
        Asset {
            content_type,
            cache_control,
            vary,
            talks_to_opener: false,
            hash: hash(&content, TAG_LEN),
            plain: content,
            brotli: OnceLock::new(),
            gzip: OnceLock::new(),
        }
    }

    /// The answer to `request` for this file.
    pub fn answer(&self, request: &Request) -> Response {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Problem::MethodNotAllowed { methods: "GET, HEAD" }.into_response();
        }
        let coding = self.coding(request.header(header::ACCEPT_ENCODING));
        // Strong (RFC 9110 §8.8.3): another one for each form.
        let tag = match coding.name() {
            None => format!("\"{}\"", self.hash),
            Some(name) => format!("\"{}-{name}\"", self.hash),
        };
        let mut response = match request.header(header::IF_NONE_MATCH) {
            Some(known) if is_among(&tag, known) => StatusCode::NOT_MODIFIED.into_response(),
            _ => self.whole(coding),
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, tag.try_into().expect("quotes and letters are a header value"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        if self.talks_to_opener {
            headers.insert("cross-origin-opener-policy", HeaderValue::from_static("unsafe-none"));
        }
        self.set_vary(headers);
        response
    }

    /// The file as the answer to `request`, which failed with `status`.
    pub fn answer_error(&self, request: &Request, status: StatusCode) -> Response {
        let mut response = self.whole(self.coding(request.header(header::ACCEPT_ENCODING)));
        response.set_status(status);
        self.set_vary(response.headers_mut());
        response
    }

    fn set_vary(&self, headers: &mut HeaderMap) {
        if !self.vary.is_empty() {
            headers.insert(header::VARY, HeaderValue::from_static(self.vary));
        }
    }

    fn whole(&self, coding: Coding) -> Response {
        let mut response = Response::builder().content_type(self.content_type);
        if let Some(name) = coding.name() {
            response = response.header(header::CONTENT_ENCODING, name);
        }
        response.body(Body::from(self.coded(coding).to_vec()))
    }

    /// The best of what the client takes and what makes the file smaller.
    fn coding(&self, accepted: Option<&str>) -> Coding {
        let Some(accepted) = accepted.filter(|_| is_text(self.content_type)) else {
            return Coding::Identity;
        };
        let weight = |coding: Coding| {
            let weight = negotiation::weight(accepted, coding.name()?)?;
            (weight > 0.0 && self.coded(coding).len() < self.plain.len()).then_some(weight)
        };
        let (brotli, gzip) = (weight(Coding::Brotli), weight(Coding::Gzip));
        match (brotli, gzip) {
            (Some(brotli), gzip) if gzip.is_none_or(|gzip| brotli >= gzip) => Coding::Brotli,
            (_, Some(_)) => Coding::Gzip,
            _ => Coding::Identity,
        }
    }

    fn coded(&self, coding: Coding) -> &[u8] {
        match coding {
            Coding::Identity => &self.plain,
            Coding::Brotli => self.brotli.get_or_init(|| brotli(&self.plain)),
            Coding::Gzip => self.gzip.get_or_init(|| gzip(&self.plain)),
        }
    }
}

impl Coding {
    /// As in `Content-Encoding`.
    fn name(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Brotli => Some("br"),
            Coding::Gzip => Some("gzip"),
        }
    }
}

/// The first `octets` of the content's SHA-256.
pub fn hash(content: &[u8], octets: usize) -> String {
    HEXLOWER.encode(&digest(&SHA256, content).as_ref()[..octets])
}

fn brotli(plain: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    let mut encoder = brotli::CompressorWriter::new(&mut coded, 4096, BROTLI_QUALITY, BROTLI_WINDOW);
    encoder.write_all(plain).expect("writing to memory does not fail");
    drop(encoder);
    coded
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

/// `If-None-Match` compares weakly (RFC 9110 §13.1.2).
fn is_among(tag: &str, known: &str) -> bool {
    known.trim() == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

fn is_text(content_type: &str) -> bool {
    content_type != "image/png"
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("txt") => "text/plain; charset=utf-8",
        other => unreachable!("no type is known for .{other:?}; a test serves every file"),
    }
}
