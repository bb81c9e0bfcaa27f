//! SMTP, as both ends of a connection need it (RFC 5321): no policy, no state of a session.
//!
//! | file | what is in it |
//! |---|---|
//! | [`wire`] | bounded lines, and a peek at what has come without reading it |
//! | [`command`] | one line to one command |
//! | [`reply`] | an answer: written by the server, read by the client |
//! | [`dot`] | dot-stuffing, both ways, and where a message ends |
//! | [`headers`] | the trace fields that we add, and what others tell about loops |
//! | [`fuzzing`] | what fuzzers feed of it |

pub mod command;
pub mod dot;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod headers;
pub mod reply;
pub mod wire;
