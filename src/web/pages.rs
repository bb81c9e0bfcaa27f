//! The page: what is in `assets/`, put together once at the start.
//!
//! | in `assets/` | what becomes of it |
//! |---|---|
//! | `pages/NAME.html`, or `NAME.en.html` and `NAME.de.html` for long texts | set into `layout.html`; `{{key}}` is replaced from the branding or the language's catalogue; a line that begins with `{{?key}}` is there only when the operator has set that |
//! | `messages/LANGUAGE.json` | a catalogue (`messages`): for those keys, for the scripts, and for problems |
//! | other files | served under a name that holds a hash of the content; `"/style.css"` in a page, style or script becomes that name |
//!
//! A page is at `/NAME` in the language that the browser prefers, and at `/de/NAME` in German for
//! visitors who chose so. A path is looked up as it was sent, never decoded and never joined to a
//! directory, so it cannot reach any other file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use poem::http::StatusCode;
use poem::web::Redirect;
use poem::{IntoResponse, Request, Response};
use rust_embed::Embed;

use super::assets::{ASK_AGAIN, Asset, KEEP_FOR_EVER, hash};
use super::branding::Branding;
use super::html::{escape, fill};
use super::messages::{Catalogue, LANGUAGES, Language};

/// Files that the world knows by name.
const WELL_KNOWN: [&str; 2] = ["manifest.webmanifest", "robots.txt"];

/// Octets of the content's hash in a file's name.
const NAME_HASH_LEN: usize = 5;

/// Where scripts find the branding.
const SITE: &str = "/site.json";

const LAYOUT: &str = "layout.html";

/// Answers to forms, and to requests for what is not there: filled in on request, without a path of their own.
const ANSWERS: [&str; 3] = ["created", "refused", NOT_FOUND];
const NOT_FOUND: &str = "not-found";

/// The window of the bookmarklet. It hands its alias back to the page that opened it, which our policy would
/// cut off; it shows nothing without a click.
const OPENED_BY_OTHERS: &str = "fill";

#[derive(Embed)]
#[folder = "assets/"]
struct Files;

/// Everything that can be looked up.
pub struct Pages {
    files: HashMap<String, Asset>,
    pages: HashMap<String, BTreeMap<&'static str, Asset>>,
    not_found: HashMap<Language, Asset>,
    answers: HashMap<(&'static str, Language), String>,
    /// By the name of the language.
    pub catalogues: BTreeMap<&'static str, Catalogue>,
    /// What they show of the configuration: the branding's document.
    pub branding: String,
}

/// What scripts, styles and pages call a file, and where it is.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Pages {
    /// Puts everything together.
    ///
    /// # Panics
    /// When a page uses a text or a file that is not there; every one is used by tests.
    pub fn assemble(branding: &Branding) -> Self {
        let catalogue = |language| (language, Catalogue::read(&read(&format!("messages/{language}.json"))));
        let mut pages = Pages {
            files: HashMap::new(),
            pages: HashMap::new(),
            not_found: HashMap::new(),
            answers: HashMap::new(),
            catalogues: LANGUAGES.map(catalogue).into(),
            branding: branding.document(),
        };
        let site = Asset::new(SITE, pages.branding.clone().into_bytes(), ASK_AGAIN);
        pages.files.insert(SITE.to_owned(), site);
        let mut names = Names::default();
        let mut sources: BTreeMap<String, Vec<u8>> = Files::iter()
            .filter(|path| path != LAYOUT && !path.contains('/'))
            .map(|path| (path.to_string(), read(&path)))
            .collect();
        let mut change = |name: &str, changed: &dyn Fn(&[u8]) -> Vec<u8>| {
            let source = sources.get_mut(name).expect("it is among the assets");
            *source = changed(source);
        };
        change("style.css", &|plain| [plain, branding.style().as_bytes()].concat());
        change("manifest.webmanifest", &|plain| branding.manifest(plain));
        for (language, catalogue) in &pages.catalogues {
            sources.insert(format!("messages.{language}.json"), catalogue.for_scripts());
        }
        for name in sources.keys() {
            names.publish(name, &sources, &mut pages.files);
        }
        let page_name = |path: Cow<str>| Some(path.strip_prefix("pages/")?.split('.').next()?.to_owned());
        for page in Files::iter().filter_map(page_name).collect::<BTreeSet<_>>() {
            for language in LANGUAGES {
                pages.add(&page, language, &names, branding);
            }
        }
        pages
    }

    /// The answer to `request`, if there is a file or page at its path.
    pub fn find(&self, request: &Request) -> Option<Response> {
        let path = request.uri().path();
        if LANGUAGES.iter().any(|language| path.strip_prefix('/') == Some(language)) {
            return Some(Redirect::permanent(format!("{path}/")).into_response());
        }
        if let Some(file) = self.files.get(path) {
            return Some(file.answer(request));
        }
        let page = self.pages.get(path)?;
        Some(page.get(Language::of(request).name)?.answer(request))
    }

    /// What a browser sees where nothing is.
    pub fn not_found(&self, request: &Request) -> Response {
        let page = self.not_found.get(&Language::of(request)).expect("there is one in every language");
        page.answer_error(request, StatusCode::NOT_FOUND)
    }

    /// The page `name`, one of [`ANSWERS`], with `values` in place of `{{=name}}`.
    pub fn answer(&self, name: &'static str, language: Language, values: &[(&str, &str)]) -> String {
        let page = &self.answers[&(name, language)];
        fill(page, "{{=", |key| {
            let value = values.iter().find(|(name, _)| *name == key);
            value.map_or_else(String::new, |(_, text)| escape(text))
        })
    }

    /// Adds `page` in the language `name`.
    fn add(&mut self, page: &str, name: &'static str, names: &Names, branding: &Branding) {
        for is_chosen in [false, true] {
            let language = Language { name, is_chosen };
            let base = language.base();
            let html = assemble_page(page, (name, &self.catalogues[name]), &base, names, branding);
            let mut asset = Asset::new("page.html", html.clone().into_bytes(), ASK_AGAIN);
            if page == NOT_FOUND {
                // Programs get something else at the same path.
                asset.vary = "Accept, Accept-Encoding, Accept-Language";
                self.not_found.insert(language, asset);
            } else if let Some(answer) = ANSWERS.into_iter().find(|answer| *answer == page) {
                self.answers.insert((answer, language), html);
            } else {
                if !is_chosen {
                    asset.vary = "Accept-Encoding, Accept-Language";
                }
                asset.talks_to_opener = page == OPENED_BY_OTHERS;
                self.pages.entry(path_of(page, &base)).or_default().insert(name, asset);
            }
        }
    }
}

/// The whole page `name`, whose links begin with `base`.
fn assemble_page(
    name: &str,
    (language, catalogue): (&str, &Catalogue),
    base: &str,
    names: &Names,
    branding: &Branding,
) -> String {
    let own = format!("pages/{name}.{language}.html");
    let shared = format!("pages/{name}.html");
    let content = Files::get(&own).map_or_else(|| text(&shared), |_| text(&own));
    let layout = text(LAYOUT).replace("{{content}}", &content);
    let path = if ANSWERS.contains(&name) { "/".to_owned() } else { path_of(name, "") };
    let layout = without_what_is_not_set(&layout, branding);
    let html = fill(&layout, "{{", |key| match key {
        "lang" => language.to_owned(),
        "base" => base.to_owned(),
        "path" => path.clone(),
        "page" => name.to_owned(),
        _ if key.starts_with('=') => format!("{{{{{key}}}}}"),
        _ => branding
            .html(key)
            .unwrap_or_else(|| escape(&catalogue.text(name, key).replace("{site}", branding.name()))),
    });
    names.apply(&html)
}

impl Names {
    /// Makes the file `name` available, and before it all that it refers to.
    fn publish(
        &mut self,
        name: &str,
        sources: &BTreeMap<String, Vec<u8>>,
        files: &mut HashMap<String, Asset>,
    ) {
        if self.0.contains_key(name) {
            return;
        }
        let mut content = sources[name].clone();
        if let Ok(text) = str::from_utf8(&content) {
            for other in sources.keys().filter(|other| text.contains(&quoted(other))) {
                self.publish(other, sources, files);
            }
            content = self.apply(text).into_bytes();
        }
        let (path, cache_control) = match name.rsplit_once('.') {
            Some((stem, kind)) if !WELL_KNOWN.contains(&name) => {
                let hash = hash(&content, NAME_HASH_LEN);
                (format!("/{stem}.{hash}.{kind}"), KEEP_FOR_EVER)
            }
            _ => (format!("/{name}"), ASK_AGAIN),
        };
        files.insert(path.clone(), Asset::new(name, content, cache_control));
        self.0.insert(name.to_owned(), path);
    }

    /// `text`, with the real paths of the files that it refers to.
    fn apply(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (name, path)| text.replace(&quoted(name), &format!("\"{path}\"")))
    }
}

/// The path of a page.
fn path_of(page: &str, base: &str) -> String {
    match page {
        "index" => format!("{base}/"),
        _ => format!("{base}/{page}"),
    }
}

/// `html` without the lines for what the operator has not set.
fn without_what_is_not_set(html: &str, branding: &Branding) -> String {
    let kept = html.lines().filter_map(|line| {
        let Some(conditional) = line.strip_prefix("{{?") else { return Some(line) };
        let (key, line) = conditional.split_once("}}").expect("what is opened is closed");
        branding.html(key).map(|_| line)
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// As scripts, styles and pages name a file.
fn quoted(name: &str) -> String {
    format!("\"/{name}\"")
}

fn read(path: &str) -> Vec<u8> {
    Files::get(path).unwrap_or_else(|| panic!("assets/{path} is missing")).data.into_owned()
}

fn text(path: &str) -> String {
    String::from_utf8(read(path)).expect("pages are UTF-8")
}
