//! What time it is. Everything below the front doors takes the time as an argument.

pub use jiff::Timestamp;

/// The present instant, cut to whole seconds: the ledger's unit, so that what was written is
/// what is read back.
pub fn now() -> Timestamp {
    floor(Timestamp::now())
}

/// `instant` without its fraction of a second.
pub fn floor(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).expect("a second of a valid instant is valid")
}
