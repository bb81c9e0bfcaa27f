//! From a file and the environment to a [`Config`], or to one line that says what is wrong.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, FileError, check, service_links};

/// What the name of an overriding variable begins with.
const PREFIX: &str = "TEMPALIAS_";

/// Begins like an override, but belongs to [`crate::telemetry`].
const LOG_VARIABLE: &str = "TEMPALIAS_LOG";

/// Where systemd puts what a unit loads with `LoadCredential=` (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Why there is no configuration: place, key and reason on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, with a line number where there is one, or `environment`.
    place: String,
    /// The key, like `smtp.max_size`, or the variable; none when the file as a whole is meant.
    key: Option<String>,
    reason: String,
}

/// Where each key was written, sections included.
#[derive(Debug)]
pub struct Places {
    file: String,
    of: BTreeMap<String, Place>,
}

#[derive(Debug)]
enum Place {
    Line(usize),
    Variable(String),
}

/// What variables hold, as text, by the key they override.
type Texts<'a> = BTreeMap<String, &'a str>;

/// Reads the configuration in the file at `path`, and the line of each key. `variables` is the
/// environment: what begins with `TEMPALIAS_` overrides the file, unless a container platform has made it from
/// the name of a service.
///
/// # Errors
/// When the file cannot be read or parsed, or holds what cannot work.
pub fn load(
    path: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Config, Places), ConfigError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let (config, places) = read(&file, &text, variables)?;
            check::surroundings(&config).map_err(|problem| places.error(problem.key, problem.reason))?;
            Ok((config, places))
        }
        Err(cause) => Err(ConfigError { place: file, key: None, reason: cause.to_string() }),
    }
}

/// Like [`load`], for the `text` of a file that errors call `file`; the directory of the
/// ledger is not checked.
///
/// # Errors
/// As [`load`].
pub fn parse(
    file: &str,
    text: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    read(file, text, variables).map(|(config, _)| config)
}

fn read(
    file: &str,
    text: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Config, Places), ConfigError> {
    // In the order of their names, so that a section comes before its keys.
    let variables: BTreeMap<_, _> = variables.into_iter().collect();
    let mut places = Places { file: file.to_owned(), of: BTreeMap::new() };
    let mut texts = Texts::new();
    let mut root = DeTable::parse(text).map_err(|cause| {
        let line = cause.span().map(|span| line_at(text, span.start));
        let place = line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
        ConfigError { place, key: None, reason: format!("not TOML: {}", one_line(cause.message())) }
    })?;
    places.note_file(text, root.get_ref());
    for (name, value) in &variables {
        let is_ours = name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) && name != LOG_VARIABLE;
        if is_ours && !service_links::is_service_variable(name, value) {
            lay_over(root.get_mut(), &mut places, &mut texts, name, value)?;
        }
    }
    let mut config: Config = deserialize(root, &places, texts)?;
    if let (Some(credentials), Some(file)) =
        (variables.get(OsStr::new(CREDENTIALS)), &mut config.smarthost.password_file)
    {
        *file = Path::new(credentials).join(&*file); // a whole path stays what it is
    }
    check::combinations(&config).map_err(|problem| places.error(problem.key, problem.reason))?;
    Ok((config, places))
}

/// The tree of values as a configuration. A variable has been read as TOML; where its key wants
/// something else, like a user name that is all digits, its text is taken as it stands.
fn deserialize(
    mut root: Spanned<DeTable<'_>>,
    places: &Places,
    mut texts: Texts<'_>,
) -> Result<Config, ConfigError> {
    let mut refused: Option<(String, ConfigError)> = None;
    loop {
        let deserializer = toml::Deserializer::from(root.clone());
        let cause = match serde_path_to_error::deserialize(deserializer) {
            Ok(config) => return Ok(config),
            Err(cause) => cause,
        };
        let path = cause.path().to_string();
        let error = places.explain(&path, cause.inner().message());
        match refused {
            // The text does not fit either: report the first error.
            Some((key, first)) if key == path => return Err(first),
            _ => {}
        }
        let Some(text) = texts.remove(&path) else { return Err(error) };
        let (table, key) = match path.split_once('.') {
            None => (Some(root.get_mut()), path.as_str()),
            Some((section, key)) => (section_in(root.get_mut(), section), key),
        };
        let Some(table) = table else { return Err(error) };
        table.insert(unplaced(key.to_owned().into()), unplaced(DeValue::String(text.to_owned().into())));
        refused = Some((path, error));
    }
}

/// Sets the key that the variable names.
fn lay_over<'a>(
    root: &mut DeTable<'a>,
    places: &mut Places,
    texts: &mut Texts<'a>,
    name: &OsStr,
    value: &'a OsStr,
) -> Result<(), ConfigError> {
    let refuse = |reason: &str| ConfigError {
        place: "environment".into(),
        key: Some(name.to_string_lossy().into_owned()),
        reason: reason.into(),
    };
    let (Some(variable), Some(value)) = (name.to_str(), value.to_str()) else {
        return Err(refuse("not UTF-8"));
    };
    let path = variable[PREFIX.len()..].to_ascii_lowercase();
    texts.insert(path.replace("__", "."), value);
    let value = match DeValue::parse(value) {
        Ok(value) => value,
        Err(_) => unplaced(DeValue::String(value.into())),
    };
    let (table, key) = match path.split_once("__") {
        None => (root, path.as_str()),
        Some((section, key)) => {
            places.of.entry(section.into()).or_insert_with(|| Place::Variable(variable.into()));
            let table = section_in(root, section);
            (table.ok_or_else(|| refuse(&format!("{section} is not a section in {}", places.file)))?, key)
        }
    };
    table.insert(unplaced(key.to_owned().into()), value);
    places.of.insert(path.replace("__", "."), Place::Variable(variable.into()));
    Ok(())
}

/// The section of this name, created if it is missing; `None` when the name is that of a single value.
fn section_in<'t, 'a>(root: &'t mut DeTable<'a>, name: &str) -> Option<&'t mut DeTable<'a>> {
    let entry = root
        .entry(unplaced(name.to_owned().into()))
        .or_insert_with(|| unplaced(DeValue::Table(DeTable::new())));
    match entry.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// Without a place in the file's text.
fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

impl Places {
    /// The error that a file named by the configuration is, at the place that names it.
    pub fn blame(&self, cause: &FileError) -> ConfigError {
        self.error(cause.key, format!("{}: {}", cause.path.display(), cause.cause))
    }

    fn note_file(&mut self, text: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            self.of.insert(key.get_ref().to_string(), Place::Line(line_at(text, key.span().start)));
            for (inner, _) in value.get_ref().as_table().into_iter().flatten() {
                let path = format!("{}.{}", key.get_ref(), inner.get_ref());
                self.of.insert(path, Place::Line(line_at(text, inner.span().start)));
            }
        }
    }

    /// serde's error about `path`, reworded.
    fn explain(&self, path: &str, message: &str) -> ConfigError {
        let section = if path == "." { "" } else { path };
        let below = |key: &str| match section.rsplit('.').next() {
            // An unknown key is part of the path already, a missing one is not.
            Some(last) if last == key => section.to_owned(),
            _ => [section, key].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("."),
        };
        let quoted = |rest: &str| rest.split_once('`').map(|(key, rest)| (key.to_owned(), rest.to_owned()));
        if let Some((key, _)) = message.strip_prefix("missing field `").and_then(quoted) {
            return self.error(&below(&key), "required, but missing".into());
        }
        if let Some((key, rest)) = message.strip_prefix("unknown field `").and_then(quoted) {
            let known = rest.trim_start_matches(", expected ").trim_start_matches("one of ");
            return self.error(
                &below(&key),
                format!("no such key; known here: {}", known.replace("` or `", ", ").replace('`', "")),
            );
        }
        if message.starts_with("invalid type: ")
            && let Some((_, expected)) = message.rsplit_once(", expected ")
        {
            let kind = match expected {
                "a string" | "path string" => "text",
                "a boolean" => "true or false",
                other => other,
            };
            return self.error(section, format!("expected {kind}"));
        }
        self.error(section, one_line(message))
    }

    fn error(&self, key: &str, reason: String) -> ConfigError {
        let (place, key) = match self.of.get(key) {
            Some(Place::Variable(name)) => ("environment".to_owned(), name.clone()),
            Some(Place::Line(line)) => (format!("{}:{line}", self.file), key.to_owned()),
            None => (self.file.to_owned(), key.to_owned()),
        };
        ConfigError { place, key: Some(key).filter(|key| !key.is_empty()), reason }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// The number of the line that the octet at `offset` is in.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|&&octet| octet == b'\n').count()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
