//! Header fields, as messages and delivery status notifications have them. They may have comments, be
//! folded and have white space before the colon (RFC 3464 §2.1.1, RFC 5322 §4.5.8).

use crate::address::Mailbox;

/// A field, unfolded; its name in lower case.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

/// The fields of a header section or of one group of a status, without what is none.
pub(super) fn fields(text: &str) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(last) = fields.last_mut() {
                last.value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push(Field { name: name.trim_end().to_ascii_lowercase(), value: value.to_owned() });
        }
    }
    fields
}

/// A field's value without comments (RFC 5322 §3.2.2) and the white space around it.
pub(super) fn plain(value: &str) -> String {
    let (mut plain, mut depth, mut is_quoted, mut is_escaped) = (String::new(), 0u32, false, false);
    for c in value.chars() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted || depth > 0 => is_escaped = true,
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if depth > 0 => {
                depth -= 1;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            plain.push(c);
        }
    }
    plain.trim().to_owned()
}

/// A mailbox, perhaps in angle brackets.
pub(super) fn mailbox(text: &str) -> Option<Mailbox> {
    let text = text.trim();
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text).parse().ok()
}
