//! The page: what is in `assets/`, put together once at the start.
//!
//! | in `assets/` | what becomes of it |
//! |---|---|
//! | `pages/NAME.html`, or `NAME.en.html` and `NAME.de.html` for long texts | set into `layout.html`; `{{key}}` is replaced from the operator's look or the language's catalogue; a line that begins with `{{?key}}` is there only when the operator has set that |
//! | `messages/LANGUAGE.json` | `page`: for those keys; `script`: served as it is, for the scripts; `problem`: what else the form without a script may say |
//! | other files | served under a name that holds a hash of the content; `"/style.css"` in a page, style or script becomes that name |
//!
//! A page is at `/NAME` in the language that the browser prefers, and at `/de/NAME` in German for
//! whoever chose so. A path is looked up as it was sent, never decoded and never joined to a
//! directory, so there is nothing a tricky one could reach.

use std::collections::{BTreeMap, HashMap};

use data_encoding::HEXLOWER;
use poem::http::{StatusCode, header};
use poem::web::Redirect;
use poem::{IntoResponse, Request, Response};
use rust_embed::Embed;

use super::assets::{Asset, Keep, sha256};
use super::look::Look;
use super::negotiation;

/// The languages of the catalogues; the first is for everybody else.
const LANGUAGES: [&str; 2] = ["en", "de"];

/// Files that the world knows by name.
const WELL_KNOWN: [&str; 2] = ["manifest.webmanifest", "robots.txt"];

/// Octets of the content's hash in a file's name.
const NAME_HASH_LEN: usize = 5;

/// Where the operator's look is.
const LOOK: &str = "/site.json";

const LAYOUT: &str = "layout.html";

/// Answers to forms and wrong turns: filled in on request, at no place of their own.
const ANSWERS: [&str; 3] = ["created", "refused", "not-found"];

#[derive(Embed)]
#[folder = "assets/"]
struct Files;

/// Everything that can be looked up.
pub struct Pages {
    files: HashMap<String, Asset>,
    pages: HashMap<String, BTreeMap<&'static str, Asset>>,
    not_found: HashMap<Language, Asset>,
    answers: HashMap<(&'static str, Language), String>,
    texts: HashMap<&'static str, Texts>,
}

/// The language of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Language {
    name: &'static str,
    /// It was chosen, by the path, and is kept by all links.
    is_chosen: bool,
}

/// The texts of one language.
struct Catalogue {
    language: &'static str,
    page: Texts,
}

/// By key.
type Texts = BTreeMap<String, String>;

/// What scripts, styles and pages call a file, and where it is.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Pages {
    /// Puts everything together, with the operator's `look`.
    ///
    /// # Panics
    /// When a page uses a text or a file that is not there; every one is used by tests.
    pub fn assemble(look: &Look) -> Self {
        let mut pages = Pages {
            files: HashMap::new(),
            pages: HashMap::new(),
            not_found: HashMap::new(),
            answers: HashMap::new(),
            texts: HashMap::new(),
        };
        pages.files.insert(LOOK.to_owned(), Asset::new(LOOK, look.document().into_bytes(), Keep::AskAgain));
        let mut names = Names::default();
        let mut sources: BTreeMap<String, Vec<u8>> = Files::iter()
            .filter(|path| is_served(path))
            .map(|path| (path.to_string(), read(&path)))
            .collect();
        let mut dress = |name: &str, put_on: &dyn Fn(&[u8]) -> Vec<u8>| {
            let source = sources.get_mut(name).expect("it is among the assets");
            *source = put_on(source);
        };
        dress("style.css", &|plain| [plain, look.style().as_bytes()].concat());
        dress("manifest.webmanifest", &|plain| look.manifest(plain));
        let catalogues = LANGUAGES.map(|language| {
            let (catalogue, script, mut problems) = Catalogue::read(language);
            let texts = serde_json::to_vec(&script).expect("texts are JSON");
            sources.insert(format!("messages.{language}.json"), texts);
            // Sentences are translated for the scripts, too; its other keys are no words of the API's.
            problems.extend(script.into_iter().filter(|(key, _)| key.ends_with('.')));
            pages.texts.insert(language, problems);
            catalogue
        });
        for name in sources.keys() {
            names.publish(name, &sources, &mut pages.files);
        }
        for catalogue in &catalogues {
            for page in page_names() {
                pages.add(&page, catalogue, &names, look);
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
        let asset = page.get(Language::of(request).name).or_else(|| page.values().next())?;
        Some(asset.answer(request))
    }

    /// What a browser sees where nothing is, in a form that it has `accepted` (`Accept-Encoding`).
    pub fn not_found(&self, language: Language, accepted: Option<&str>) -> Response {
        let page = self.not_found.get(&language).expect("there is one in every language");
        page.in_place_of(StatusCode::NOT_FOUND, accepted)
    }

    /// The page `name`, one of [`ANSWERS`], with `values` in place of `{{=name}}`.
    pub fn answer(&self, name: &'static str, language: Language, values: &[(&str, &str)]) -> String {
        let page = &self.answers[&(name, language)];
        replace(page, "{{=", |key| {
            let value = values.iter().find(|(name, _)| *name == key);
            value.map_or_else(String::new, |(_, text)| escape(text))
        })
    }

    /// What the catalogue of `language` has for a sentence of the API's, or a word in it.
    pub fn text(&self, language: Language, key: &str) -> Option<&str> {
        self.texts.get(language.name)?.get(key).map(String::as_str)
    }

    fn add(&mut self, page: &str, catalogue: &Catalogue, names: &Names, look: &Look) {
        let name = catalogue.language;
        let languages = [false, true].map(|is_chosen| Language { name, is_chosen });
        if let Some(answer) = ANSWERS.into_iter().find(|answer| *answer == page) {
            for language in languages {
                let html = catalogue.fill(page, &language.base(), names, look);
                if answer == "not-found" {
                    let asset = Asset::new("not-found.html", html.clone().into_bytes(), Keep::AskAgain);
                    self.not_found.insert(language, asset.by_kind());
                }
                self.answers.insert((answer, language), html);
            }
            return;
        }
        let asset = |base: &str| {
            let html = catalogue.fill(page, base, names, look);
            Asset::new("page.html", html.into_bytes(), Keep::AskAgain)
        };
        let [negotiated, chosen] = languages.map(Language::base);
        let pages = self.pages.entry(place(page, &negotiated)).or_default();
        pages.insert(name, asset(&negotiated).by_language());
        self.pages.entry(place(page, &chosen)).or_default().insert(name, asset(&chosen));
    }
}

impl Language {
    /// For the answer to `request`: that of its path, or what its sender prefers.
    pub fn of(request: &Request) -> Self {
        let first = request.uri().path().split('/').nth(1);
        if let Some(name) = LANGUAGES.into_iter().find(|language| Some(*language) == first) {
            return Language { name, is_chosen: true };
        }
        let list = request.header(header::ACCEPT_LANGUAGE).unwrap_or_default();
        let name = negotiation::preferred(list, &LANGUAGES).unwrap_or(LANGUAGES[0]);
        Language { name, is_chosen: false }
    }

    /// What links begin with.
    fn base(self) -> String {
        match self.is_chosen {
            true => format!("/{}", self.name),
            false => String::new(),
        }
    }
}

impl Catalogue {
    /// The catalogue of `language`, and the parts of it that are for the scripts, and for problems.
    fn read(language: &'static str) -> (Self, Texts, Texts) {
        let text = read(&format!("messages/{language}.json"));
        let mut parts: BTreeMap<String, Texts> =
            serde_json::from_slice(&text).expect("a catalogue has parts with texts");
        let mut part = |name| parts.remove(name).expect("a catalogue has its three parts");
        (Catalogue { language, page: part("page") }, part("script"), part("problem"))
    }

    /// The whole page `name`, whose links begin with `base`.
    fn fill(&self, name: &str, base: &str, names: &Names, look: &Look) -> String {
        let own = format!("pages/{name}.{}.html", self.language);
        let shared = format!("pages/{name}.html");
        let content = Files::get(&own).map_or_else(|| text(&shared), |_| text(&own));
        let layout = text(LAYOUT).replace("{{content}}", &content);
        let path = if ANSWERS.contains(&name) { "/".to_owned() } else { place(name, "") };
        let layout = what_is_set(&layout, look);
        let html = replace(&layout, "{{", |key| match key {
            "lang" => self.language.to_owned(),
            "base" => base.to_owned(),
            "path" => path.clone(),
            "page" => name.to_owned(),
            _ if key.starts_with('=') => format!("{{{{{key}}}}}"),
            _ => {
                look.html(key).unwrap_or_else(|| escape(&self.text(name, key).replace("{site}", look.name())))
            }
        });
        names.apply(&html)
    }

    /// The text for `key`: the page's own, or one for all pages.
    fn text(&self, page: &str, key: &str) -> &str {
        let found = self.page.get(&format!("{page}.{key}")).or_else(|| self.page.get(key));
        found.unwrap_or_else(|| panic!("{}: no text for {key} on {page}", self.language))
    }
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
        let (path, keep) = match name.rsplit_once('.') {
            Some((stem, kind)) if !WELL_KNOWN.contains(&name) => {
                let hash = HEXLOWER.encode(&sha256(&content)[..NAME_HASH_LEN]);
                (format!("/{stem}.{hash}.{kind}"), Keep::ForEver)
            }
            _ => (format!("/{name}"), Keep::AskAgain),
        };
        files.insert(path.clone(), Asset::new(name, content, keep));
        self.0.insert(name.to_owned(), path);
    }

    /// `text`, with the real places of the files that it refers to.
    fn apply(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (name, path)| text.replace(&quoted(name), &format!("\"{path}\"")))
    }
}

/// Whether `path` is that of `page`, in whatever language.
pub fn is_place_of(page: &str, path: &str) -> bool {
    path == place(page, "") || LANGUAGES.iter().any(|language| path == place(page, &format!("/{language}")))
}

/// Text as HTML, also between double quotes.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '{' => html.push_str("&#123;"), // or it could pass for a key that is yet to be filled in
            other => html.push(other),
        }
    }
    html
}

/// The path of a page.
fn place(page: &str, base: &str) -> String {
    match page {
        "index" => format!("{base}/"),
        _ => format!("{base}/{page}"),
    }
}

/// `html` without the lines for what the operator has not set.
fn what_is_set(html: &str, look: &Look) -> String {
    let kept = html.lines().filter_map(|line| {
        let Some(conditional) = line.strip_prefix("{{?") else { return Some(line) };
        let (key, line) = conditional.split_once("}}").expect("what is opened is closed");
        look.html(key).map(|_| line)
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// As scripts, styles and pages name a file.
fn quoted(name: &str) -> String {
    format!("\"/{name}\"")
}

/// `text` with everything between `open` and `}}` replaced by what `value` says.
fn replace(text: &str, open: &str, value: impl Fn(&str) -> String) -> String {
    let mut parts = text.split(open);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (key, rest) = part.split_once("}}").expect("what is opened is closed");
        filled.push_str(&value(key));
        filled.push_str(rest);
    }
    filled
}

fn page_names() -> Vec<String> {
    let mut names: Vec<_> = Files::iter()
        .filter_map(|path| path.strip_prefix("pages/")?.split('.').next().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn is_served(path: &str) -> bool {
    path != LAYOUT && !path.contains('/')
}

fn read(path: &str) -> Vec<u8> {
    Files::get(path).unwrap_or_else(|| panic!("assets/{path} is missing")).data.into_owned()
}

fn text(path: &str) -> String {
    String::from_utf8(read(path)).expect("pages are UTF-8")
}
