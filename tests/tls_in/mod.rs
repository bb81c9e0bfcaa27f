//! docs/smtp.md §6: TLS with those who bring mail (RFC 3207): offered, spoken, abused, and its certificate renewed.

mod certificate;
mod handshake;
mod messages;
mod peers;
mod starttls;

use crate::support::appliance::{Alias, Appliance};
use crate::support::certificates::{Authority, Certificate, Files};
use crate::support::client::Client;
use crate::support::smarthost::Smarthost;
use crate::support::wait;

/// Who we are, by name and by address.
const NAMES: [&str; 2] = ["mx.alias.test", "127.0.0.1"];

const USES: u64 = 100;

/// An appliance with a certificate, and an alias.
struct Scene {
    authority: Authority,
    certificate: Certificate,
    files: Files,
    smarthost: Smarthost,
    appliance: Appliance,
    alias: Alias,
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::new();
        let certificate = authority.certify(&NAMES);
        let files = certificate.files();
        let smarthost = Smarthost::start();
        let [chain, key] = files.settings();
        let settings = [
            (chain.0, chain.1.as_str()),
            (key.0, key.1.as_str()),
            ("smtp.connections_per_minute", "0"),
            ("smtp.max_connections_per_ip", "0"),
        ];
        let appliance = Appliance::start_with(smarthost.address(), &settings);
        let alias = appliance.alias("target@mailbox.test", USES as u32);
        Scene { authority, certificate, files, smarthost, appliance, alias }
    }

    /// A session under TLS, after EHLO.
    #[track_caller]
    fn client(&self) -> Client {
        Client::encrypted(self.appliance.smtp, &self.authority.client())
    }

    /// One whose STARTTLS has been answered: a handshake should follow.
    #[track_caller]
    fn before_handshake(&self) -> Client {
        let mut client = Client::hello(self.appliance.smtp);
        client.command("STARTTLS", "220");
        client
    }

    /// Mail goes through, under TLS.
    #[track_caller]
    fn is_well(&self) {
        let before = self.smarthost.accepted();
        assert_eq!(self.client().deliver(&self.alias.email).code(), 250);
        assert_eq!(self.smarthost.accepted(), before + 1);
    }

    /// Nothing was spent, nothing delivered, and no connection upstream is left.
    #[track_caller]
    fn is_untouched(&self) {
        wait::until_equal("open connections", 0, || self.smarthost.count(|record| record.open));
        assert_eq!(self.smarthost.count(|record| record.messages.len()), 0, "a dot was sent");
        assert_eq!(self.appliance.uses_left(&self.alias), USES);
    }

    /// Whether a new session is shown `certificate`.
    fn presents(&self, certificate: &Certificate) -> bool {
        let client = self.client();
        let shown = client.tls().peer_certificates().expect("a server shows its certificate");
        shown == [certificate.der()]
    }

    /// Waits until the log tells of a new certificate, which must be `certificate`.
    #[track_caller]
    fn comes_to_present(&self, certificate: &Certificate) {
        wait::until_equal("renewals", 1, || self.appliance.logged("a new certificate is in use"));
        assert!(self.presents(certificate));
    }
}
