//! The client side towards the smarthost.

use crate::config;

/// Where the smarthost is and how to speak to it.
#[derive(Clone)]
pub struct Smarthost {}

impl Smarthost {
    /// The smarthost of `config`; says EHLO with `hostname`.
    pub fn new(_config: &config::Smarthost, _hostname: &str) -> Self {
        Smarthost {}
    }
}
