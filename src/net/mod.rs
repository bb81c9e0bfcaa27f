//! Connections, below SMTP and HTTP.
//!
//! | file | what is in it |
//! |---|---|
//! | [`accept`] | accepting connections, and what happens when that fails |
//! | [`transport`] | a connection with or without TLS |
//! | [`tls`] | handshakes; our certificate, and those we trust |
//! | [`script`] | a connection whose peer is made up, for tests |
//! | [`limits`] | how much one client may ask of us |

pub mod accept;
pub mod limits;
#[cfg(any(test, fuzzing))]
pub mod script;
pub mod tls;
pub mod transport;
