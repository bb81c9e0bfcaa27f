//! HTML out of templates.

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

/// `template` with everything between `open` and `}}` replaced by what `value` says.
///
/// # Panics
/// When a key has no end.
pub fn fill(template: &str, open: &str, value: impl Fn(&str) -> String) -> String {
    let mut parts = template.split(open);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (key, rest) = part.split_once("}}").expect("what is opened is closed");
        filled.push_str(&value(key));
        filled.push_str(rest);
    }
    filled
}
