//! Header fields: those that we add, and what others tell about loops.
//!
//! | file | what is in it |
//! |---|---|
//! | [`received`] | `Received` and `Delivered-To`, our trace fields |
//! | [`watch`] | loops, told by the trace fields of a message |

mod received;
mod watch;

pub use received::Received;
#[cfg(any(test, fuzzing))]
pub use received::printable;
pub use watch::{HeaderFault, HeaderWatch};

/// What must stand between our fields and a message that begins with `first`, so that it neither
/// folds into our last field nor ends the header section (Postfix does the same).
pub fn joint(first: &[u8]) -> &'static [u8] {
    if first.starts_with(b" ") || first.starts_with(b"\t") {
        b"\r\n"
    } else if first.starts_with(b"From ") || first.starts_with(b">From ") {
        b"X-Mailbox-Line: "
    } else {
        b""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_that_would_fold_or_end_our_header_is_set_apart() {
        assert_eq!(joint(b" folded"), b"\r\n");
        assert_eq!(joint(b"\tfolded"), b"\r\n");
        assert_eq!(joint(b"From a@b Fri"), b"X-Mailbox-Line: ");
        assert_eq!(joint(b"From: a@b"), b"");
        assert_eq!(joint(b""), b"");
    }
}
