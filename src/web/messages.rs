//! What page and scripts say, in each language: `assets/messages/LANGUAGE.json`.
//!
//! | part | what it has |
//! |---|---|
//! | `page` | the texts of the pages, by the key that stands there |
//! | `script` | those of the scripts |
//! | `problem` | a sentence for each [`Problem`] that a form can have; one that is missing is an error at the start |
//! | `field` | what people call a field of the API |

use std::collections::BTreeMap;

use poem::Request;
use poem::http::header;
use serde::Deserialize;

use super::negotiation;
use super::problem::Problem;
use crate::address::{AddressError, NotOurs};
use crate::alias::LimitError;
use crate::config::TargetError;

/// The languages of the catalogues; the first is for everybody else.
pub const LANGUAGES: [&str; 2] = ["en", "de"];

/// What can be wrong with a target. Scripts know it by the API's sentence and say it in their language.
const TARGET_PROBLEMS: [Problem; 9] = [
    Problem::Address(AddressError::Empty),
    Problem::Address(AddressError::TooLong),
    Problem::Address(AddressError::BadCharacter),
    Problem::Address(AddressError::AtSign),
    Problem::Address(AddressError::NotAscii),
    Problem::Address(AddressError::LocalPart),
    Problem::Address(AddressError::Domain),
    Problem::Target(TargetError::Ours),
    Problem::Target(TargetError::Forbidden),
];

/// The language of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Language {
    /// One of [`LANGUAGES`].
    pub name: &'static str,
    /// It was chosen, by the path, and is kept by all links.
    pub is_chosen: bool,
}

/// All texts of one language.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    page: Texts,
    script: Texts,
    problem: Sentences,
    field: Texts,
}

/// By key.
type Texts = BTreeMap<String, String>;

/// By problem, with gaps like `{field}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sentences {
    not_a_form: String,
    no_length: String,
    cut_short: String,
    too_slow: String,
    body_too_large: String,
    unknown_field: String,
    unnamed_field: String,
    given_twice: String,
    target_missing: String,
    not_an_instant: String,
    not_whole: String,
    too_large: String,
    address_too_long: String,
    address_character: String,
    address_at_sign: String,
    address_not_ascii: String,
    address_local_part: String,
    address_domain: String,
    target_ours: String,
    target_forbidden: String,
    limit_missing: String,
    days_and_until: String,
    ends_before_start: String,
    ends_in_past: String,
    domain_not_ours: String,
    rate_limited: String,
    listed: String,
    foreign_form: String,
    server_error: String,
    unavailable: String,
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
    pub fn base(self) -> String {
        if self.is_chosen { format!("/{}", self.name) } else { String::new() }
    }
}

impl Catalogue {
    /// Reads the catalogue that is in `json`.
    ///
    /// # Panics
    /// When it is not one, or a sentence is missing.
    pub fn read(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_else(|cause| panic!("a catalogue of messages: {cause}"))
    }

    /// The text for `key` on `page`: the page's own, or one for all pages.
    ///
    /// # Panics
    /// When there is none.
    pub fn text(&self, page: &str, key: &str) -> &str {
        let found = self.page.get(&format!("{page}.{key}")).or_else(|| self.page.get(key));
        found.unwrap_or_else(|| panic!("no text for {key} on {page}"))
    }

    /// The texts for the scripts, as JSON.
    pub fn for_scripts(&self) -> Vec<u8> {
        let mut texts = self.script.clone();
        texts.extend(TARGET_PROBLEMS.map(|problem| (problem.sentence(), self.sentence(&problem))));
        serde_json::to_vec(&texts).expect("texts are JSON")
    }

    /// What the page says about `problem`. Of those that no form can have, the API's sentence.
    pub fn sentence(&self, problem: &Problem) -> String {
        let texts = &self.problem;
        match problem {
            Problem::NotJsonType => texts.not_a_form.clone(),
            Problem::NoLength => texts.no_length.clone(),
            Problem::CutShort => texts.cut_short.clone(),
            Problem::TooSlow => texts.too_slow.clone(),
            Problem::BodyTooLarge { most } => fill(&texts.body_too_large, "most", &most.to_string()),
            Problem::UnknownField { field, .. } => self.of_field(&texts.unknown_field, field),
            Problem::UnnamedField { .. } => texts.unnamed_field.clone(),
            Problem::GivenTwice { field } => self.of_field(&texts.given_twice, field),
            Problem::Missing { .. } | Problem::Address(AddressError::Empty) => texts.target_missing.clone(),
            Problem::NotAnInstant { field } => self.of_field(&texts.not_an_instant, field),
            Problem::NotWhole { field } | Problem::TooSmall { field } => {
                self.of_field(&texts.not_whole, field)
            }
            Problem::TooLarge { field } => self.of_field(&texts.too_large, field),
            Problem::Address(AddressError::TooLong) => texts.address_too_long.clone(),
            Problem::Address(AddressError::BadCharacter) => texts.address_character.clone(),
            Problem::Address(AddressError::AtSign) => texts.address_at_sign.clone(),
            Problem::Address(AddressError::NotAscii) => texts.address_not_ascii.clone(),
            Problem::Address(AddressError::LocalPart) => texts.address_local_part.clone(),
            Problem::Address(AddressError::Domain) => texts.address_domain.clone(),
            Problem::Target(TargetError::Ours) => texts.target_ours.clone(),
            Problem::Target(TargetError::Forbidden) => texts.target_forbidden.clone(),
            Problem::Limit(LimitError::NoLimit) => texts.limit_missing.clone(),
            Problem::Limit(LimitError::DaysAndUntil) => texts.days_and_until.clone(),
            Problem::Limit(LimitError::EndsBeforeStart) => texts.ends_before_start.clone(),
            Problem::Limit(LimitError::EndsInPast) => texts.ends_in_past.clone(),
            Problem::Domain(NotOurs(domains)) => fill(&texts.domain_not_ours, "domains", domains),
            Problem::RateLimited { seconds } => fill(&texts.rate_limited, "seconds", &seconds.to_string()),
            Problem::Listed { list } => fill(&texts.listed, "list", list),
            Problem::ForeignForm => texts.foreign_form.clone(),
            Problem::ServerError => texts.server_error.clone(),
            Problem::Unavailable => texts.unavailable.clone(),
            // Of JSON.
            Problem::NotUtf8
            | Problem::NotJson { .. }
            | Problem::NotAnObject
            | Problem::NotAString { .. }
            | Problem::NotABool { .. }
            // Of numbers that have been read before.
            | Problem::Limit(LimitError::NoDays | LimitError::NoUsage)
            // Of header fields, methods, scripts, and aliases that are there.
            | Problem::BadHost
            | Problem::HeadTooLarge { .. }
            | Problem::Malformed
            | Problem::MethodNotAllowed { .. }
            | Problem::NotFound
            | Problem::BadCallback
            | Problem::BadIdempotencyKey { .. }
            | Problem::IdempotencyKeyUsed => problem.sentence(),
        }
    }

    fn of_field(&self, sentence: &str, field: &str) -> String {
        fill(sentence, "field", self.field.get(field).map_or(field, String::as_str))
    }
}

/// `sentence` with `value` in the gap `name`.
fn fill(sentence: &str, name: &str, value: &str) -> String {
    sentence.replace(&format!("{{{name}}}"), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(language: &str) -> Catalogue {
        Catalogue::read(&std::fs::read(format!("assets/messages/{language}.json")).unwrap())
    }

    /// Those with values; the others are held by the types.
    #[test]
    fn every_sentence_has_the_values_of_its_problem() {
        let field = || "valid-from".to_owned();
        for (problem, value) in [
            (Problem::BodyTooLarge { most: 17 }, "17"),
            (Problem::UnknownField { field: field(), known: String::new() }, "valid-from"),
            (Problem::GivenTwice { field: field() }, "valid-from"),
            (Problem::NotAnInstant { field: field() }, "valid-from"),
            (Problem::NotWhole { field: field() }, "valid-from"),
            (Problem::TooSmall { field: field() }, "valid-from"),
            (Problem::TooLarge { field: field() }, "valid-from"),
            (Problem::Domain(NotOurs("a.test, b.test".into())), "a.test, b.test"),
            (Problem::RateLimited { seconds: 17 }, "17"),
            (Problem::Listed { list: "dnsbl.test".into() }, "dnsbl.test"),
        ] {
            for language in LANGUAGES {
                let said = catalogue(language).sentence(&problem);
                assert!(said.contains(value) && !said.contains('{'), "{language}: {said}");
            }
        }
    }

    #[test]
    fn fields_have_names_and_what_looks_like_a_field_has_none() {
        let twice = |field: &str| catalogue("de").sentence(&Problem::GivenTwice { field: field.into() });
        assert_eq!(twice("days"), "Das Feld „Tage“ ist doppelt angekommen.");
        assert_eq!(twice("copied"), "Das Feld „copied“ ist doppelt angekommen.");
    }
}
