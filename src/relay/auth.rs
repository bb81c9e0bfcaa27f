//! AUTH PLAIN (RFC 4954, RFC 4616) and AUTH LOGIN (draft-murchison-sasl-login-00).
//!
//! The texts of the replies are ignored, and never logged: a prompt may have any text or none, and a refusal may
//! repeat the credentials.

use data_encoding::BASE64;

use super::RelayError;
use super::client::Client;
use super::hello::Capabilities;

/// The password is wrong; another mechanism would not help (RFC 4954 §6).
const WRONG_PASSWORD: u16 = 535;

/// User name and password.
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

/// One way to log in: a command, and the response to each 334.
struct Exchange {
    command: String,
    responses: Vec<String>,
}

/// Logs in by PLAIN or LOGIN, whichever is offered. When one is refused for another reason than the password, the
/// next is tried.
///
/// # Errors
/// Neither is offered, or none was accepted.
pub(super) async fn authenticate(
    client: &mut Client,
    credentials: &Credentials,
    offered: &Capabilities,
) -> Result<(), RelayError> {
    let refused = |code| RelayError::Failed(format!("it refused AUTH with {code}"));
    let mut failure = RelayError::Failed("it offers neither AUTH PLAIN nor AUTH LOGIN".into());
    for exchange in credentials.exchanges(offered) {
        match exchange.run(client).await? {
            235 => return Ok(()),
            334 => return Err(RelayError::Failed("AUTH wants more than user name and password".into())),
            code @ 500..600 if code != WRONG_PASSWORD => failure = refused(code),
            code => return Err(refused(code)),
        }
    }
    Err(failure)
}

impl Credentials {
    fn exchanges(&self, offered: &Capabilities) -> Vec<Exchange> {
        let encoded = |text: &str| format!("{}\r\n", BASE64.encode(text.as_bytes()));
        let mut exchanges = Vec::new();
        if offered.auth_plain {
            let response = encoded(&format!("\0{}\0{}", self.username, self.password));
            // With the response in the command, which saves a round trip. Some servers ignore it there, others refuse it.
            let command = format!("AUTH PLAIN {response}");
            exchanges.push(Exchange { command, responses: vec![response.clone()] });
            exchanges.push(Exchange { command: "AUTH PLAIN\r\n".into(), responses: vec![response] });
        }
        if offered.auth_login {
            let responses = [&self.username, &self.password].map(|text| encoded(text)).to_vec();
            exchanges.push(Exchange { command: "AUTH LOGIN\r\n".into(), responses });
        }
        exchanges
    }
}

impl Exchange {
    /// The code it ends with.
    async fn run(self, client: &mut Client) -> Result<u16, RelayError> {
        let mut code = client.command(self.command).await?.code;
        for response in self.responses {
            if code != 334 {
                break;
            }
            code = client.command(response).await?.code;
        }
        Ok(code)
    }
}
