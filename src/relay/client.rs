//! Commands to the smarthost and its replies, one after the other.

use std::time::Duration;

use tokio::time::timeout;

use super::RelayError;
use crate::net::transport::Transport;
use crate::smtp::reply::Reply;
use crate::smtp::wire::LineStream;

/// Our end of a connection to the smarthost.
pub(super) struct Client {
    pub(super) stream: LineStream<Transport>,
    /// How long a command and its reply may take.
    pub(super) timeout: Duration,
}

impl Client {
    /// Sends `command`, which brings its own line end, and waits for the reply.
    ///
    /// # Errors
    /// No reply, or none in time.
    pub(super) async fn command(&mut self, command: impl AsRef<[u8]>) -> Result<Reply, RelayError> {
        let reply = async {
            self.stream.write(command.as_ref()).await?;
            Reply::read(&mut self.stream).await
        };
        Ok(timeout(self.timeout, reply).await.map_err(|_| RelayError::no_answer())??)
    }

    /// The next reply, without a command. How long that may take is the caller's to say.
    ///
    /// # Errors
    /// No reply.
    pub(super) async fn reply(&mut self) -> Result<Reply, RelayError> {
        Ok(Reply::read(&mut self.stream).await?)
    }
}
