//! What a client takes: lists with weights, as in `Accept-Encoding` and `Accept-Language`
//! (RFC 9110 §12.4).

/// The weight of `name` in `list`, by its own entry or that for `*`; `None` when there is neither.
pub fn weight(list: &str, name: &str) -> Option<f32> {
    let find = |wanted: &str| entries(list).find(|(known, _)| known.eq_ignore_ascii_case(wanted));
    find(name).or_else(|| find("*")).map(|(_, weight)| weight)
}

/// The one of `offered` that `list` asks for most; ranges like `de-AT` ask for `de`
/// (RFC 4647 §3.4).
pub fn preferred<'a>(list: &str, offered: &[&'a str]) -> Option<&'a str> {
    let mut best: Option<(&str, f32)> = None;
    for (range, weight) in entries(list) {
        let primary = range.split('-').next().unwrap_or(range);
        let Some(&found) = offered.iter().find(|one| one.eq_ignore_ascii_case(primary)) else { continue };
        // Of equals the first: browsers write them in the order of preference.
        if weight > 0.0 && best.is_none_or(|(_, most)| weight > most) {
            best = Some((found, weight));
        }
    }
    best.map(|(found, _)| found)
}

fn entries(list: &str) -> impl Iterator<Item = (&str, f32)> {
    list.split(',').map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_by_name_or_star() {
        assert_eq!(weight("gzip, br;q=0.5", "br"), Some(0.5));
        assert_eq!(weight("GZIP;q=0", "gzip"), Some(0.0));
        assert_eq!(weight("*;q=0.2, br", "gzip"), Some(0.2));
        assert_eq!(weight("gzip", "br"), None);
        assert_eq!(weight("br;q=nonsense", "br"), Some(0.0));
    }

    #[test]
    fn the_language_asked_for_most_wins_and_regions_count() {
        let ours = ["en", "de"];
        for (list, best) in [
            ("de-AT,de;q=0.9,en;q=0.8", Some("de")),
            ("en;q=0.8, de;q=0.9", Some("de")),
            ("fr, en-GB;q=0.5", Some("en")),
            ("de;q=0, en;q=0.1", Some("en")),
            ("en, de", Some("en")),
            ("fr", None),
            ("", None),
        ] {
            assert_eq!(preferred(list, &ours), best, "{list}");
        }
    }
}
