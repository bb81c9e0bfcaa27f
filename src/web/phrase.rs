//! What is wrong, in words that can be said in another language, too: a pattern with gaps, and what
//! goes into them.

use std::borrow::Cow;

use super::body::FromFields;
use super::schema::AliasRequest;
use crate::address::{AddressError, NotOurs};
use crate::alias::LimitError;
use crate::config::TargetError;

/// The gap for the name of a field.
const FIELD: &str = "field";

/// A phrase; its pattern, as a sentence, is also its key in the catalogues (`problem` in
/// `assets/messages/`).
#[derive(Clone, Debug)]
pub struct Phrase {
    pattern: Cow<'static, str>,
    values: Vec<(&'static str, String)>,
}

impl Phrase {
    /// `pattern` without its capital and full stop, with gaps like `{field}`.
    pub fn new(pattern: &'static str) -> Self {
        pattern.into()
    }

    /// With `value` in the gap `name`.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.values.push((name, value.to_string()));
        self
    }

    /// The sentence, in English, as the API says it.
    pub fn sentence(&self) -> String {
        sentence(&self.filled(&self.pattern, |_, value| value.to_owned()))
    }

    /// The sentence in the language of which `text` has the texts: for this pattern, and for the
    /// names of the API's fields in the gap `field`. What it does not know stays as it is.
    pub fn translated<'a>(&self, text: impl Fn(&str) -> Option<&'a str>) -> String {
        let Some(pattern) = text(&sentence(&self.pattern)) else { return self.sentence() };
        self.filled(pattern, |name, value| {
            let is_ours = name == FIELD && AliasRequest::NAMES.contains(&value);
            let word = is_ours.then(|| text(value)).flatten();
            word.unwrap_or(value).to_owned()
        })
    }

    fn filled(&self, pattern: &str, said: impl Fn(&str, &str) -> String) -> String {
        let fill = |text: String, (name, value): &(&str, String)| {
            text.replace(&format!("{{{name}}}"), &said(name, value))
        };
        self.values.iter().fold(pattern.to_owned(), fill)
    }
}

impl From<&'static str> for Phrase {
    fn from(pattern: &'static str) -> Self {
        Phrase { pattern: pattern.into(), values: Vec::new() }
    }
}

impl From<AddressError> for Phrase {
    fn from(why: AddressError) -> Self {
        Phrase { pattern: why.to_string().into(), values: Vec::new() }
    }
}

impl From<LimitError> for Phrase {
    fn from(why: LimitError) -> Self {
        Phrase { pattern: why.to_string().into(), values: Vec::new() }
    }
}

impl From<TargetError> for Phrase {
    fn from(why: TargetError) -> Self {
        Phrase { pattern: why.to_string().into(), values: Vec::new() }
    }
}

impl From<NotOurs> for Phrase {
    fn from(NotOurs(domains): NotOurs) -> Self {
        Phrase::new("domain must be one of ours: {domains}").with("domains", domains)
    }
}

/// `phrase` with a capital and a full stop.
fn sentence(phrase: &str) -> String {
    let mut letters = phrase.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_said_with_its_values_in_any_language_that_has_it() {
        let german = |key: &str| match key {
            "{field} is given twice." => Some("„{field}“ kommt zweimal vor."),
            "days" => Some("Tage"),
            "copied" => Some("Kopiert"),
            "Known is {list}." => Some("Bekannt ist {list}."),
            _ => None,
        };
        let twice = |field: &str| Phrase::new("{field} is given twice").with("field", field);
        assert_eq!(twice("days").sentence(), "Days is given twice.");
        assert_eq!(twice("days").translated(german), "„Tage“ kommt zweimal vor.");
        assert_eq!(twice("copied").translated(german), "„copied“ kommt zweimal vor.");
        let known = Phrase::new("known is {list}").with("list", "days");
        assert_eq!(known.translated(german), "Bekannt ist days.");
        assert_eq!(Phrase::new("it is late").translated(german), "It is late.");
    }
}
