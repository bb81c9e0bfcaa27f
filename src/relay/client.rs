//! Commands to the smarthost and its replies, one after the other.

use std::time::Duration;

use tokio::time::timeout;

use super::RelayError;
use super::reply::Reply;
use super::stream::Lines;

/// Our end of a connection to the smarthost.
pub(super) struct Client {
    pub(super) stream: Lines,
    /// How long a command and its reply may take.
    pub(super) timeout: Duration,
}

impl Client {
    /// Sends `command`, which brings its own line end, and waits for the reply.
    ///
    /// # Errors
    /// No reply, or none in time.
    pub(super) async fn command(&mut self, command: impl AsRef<[u8]>) -> Result<Reply, RelayError> {
        self.command_with(command, |_| ()).await
    }

    /// The same; `further` is given the text of each line of the reply after the first.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn command_with(
        &mut self,
        command: impl AsRef<[u8]>,
        further: impl FnMut(&str),
    ) -> Result<Reply, RelayError> {
        let reply = async {
            self.stream.write(command.as_ref()).await?;
            Reply::read(&mut self.stream, further).await
        };
        timeout(self.timeout, reply).await.unwrap_or_else(|_| Err(RelayError::no_answer()))
    }

    /// The next reply, without a command. How long that may take is the caller's to say.
    ///
    /// # Errors
    /// No reply.
    pub(super) async fn reply(&mut self) -> Result<Reply, RelayError> {
        Reply::read(&mut self.stream, |_| ()).await
    }
}
