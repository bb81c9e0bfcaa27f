//! Every text the MX says, in one table.
//!
//! Enhanced status codes are those of RFC 3463 and RFC 5248. No reply holds a word of the
//! smarthost's, a target, or what the client has sent.

use crate::message_id::MessageId;
use crate::smtp::command::CommandError;
use crate::smtp::reply::Reply;

// Conversation.
pub(super) const START_TLS: Reply = Reply::new(220, "2.0.0", "go ahead");
pub(super) const GOODBYE: Reply = Reply::new(221, "2.0.0", "bye");
pub(super) const OK: Reply = Reply::new(250, "2.0.0", "ok");
pub(super) const SENDER_OK: Reply = Reply::new(250, "2.1.0", "sender ok");
pub(super) const RECIPIENT_OK: Reply = Reply::new(250, "2.1.5", "recipient ok");
pub(super) const HELP: Reply =
    Reply::new(214, "2.0.0", "HELO EHLO MAIL RCPT DATA RSET NOOP VRFY QUIT: RFC 5321");
pub(super) const CANNOT_VRFY: Reply = Reply::new(252, "2.5.0", "send a message, and see");
pub(super) const START_DATA: Reply = Reply::new(354, "", "end with <CRLF>.<CRLF>");
pub(super) const BOUNCE_TAKEN: Reply = Reply::new(250, "2.0.0", "taken");

// Ours to close.
pub(super) const SHUTTING_DOWN: Reply = Reply::new(421, "4.3.2", "shutting down, try again");
pub(super) const PREEMPTED: Reply = Reply::new(421, "4.3.2", "too busy, others are waiting, try later");
pub(super) const IDLE: Reply = Reply::new(421, "4.4.2", "too slow");
pub(super) const ENDLESS: Reply = Reply::new(421, "4.3.4", "message exceeds the limit");
pub(super) const TOO_MANY_SESSIONS: Reply = Reply::new(421, "4.7.0", "too many sessions, try later");
pub(super) const TOO_MANY_OF_YOURS: Reply = Reply::new(421, "4.7.0", "too many sessions of yours, try later");
pub(super) const TOO_MANY_CONNECTIONS: Reply =
    Reply::new(421, "4.7.0", "too many connections of yours in a minute, try later");
pub(super) const TOO_MANY_ERRORS: Reply = Reply::new(421, "4.7.0", "too many errors");
pub(super) const TOO_MANY_UNKNOWN: Reply = Reply::new(421, "4.7.0", "too many unknown recipients");
pub(super) const TOO_MANY_MESSAGES: Reply = Reply::new(421, "4.7.0", "too many messages, connect again");

// For now.
pub(super) const SMARTHOST_UNAVAILABLE: Reply =
    Reply::new(451, "4.4.1", "cannot forward right now, try later");
pub(super) const TOO_BUSY: Reply = Reply::new(451, "4.3.2", "too busy to forward right now, try later");
pub(super) const RECIPIENT_LATER: Reply = Reply::new(451, "4.2.0", "mailbox busy, try later");
pub(super) const MESSAGE_LATER: Reply = Reply::new(451, "4.3.0", "message not taken now, try later");
pub(super) const OUTCOME_UNKNOWN: Reply = Reply::new(451, "4.4.2", "no word whether it was delivered");
pub(super) const NO_ROOM: Reply = Reply::new(452, "4.3.1", "no room, try later");
pub(super) const TOO_MANY_RECIPIENTS: Reply =
    Reply::new(452, "4.5.3", "too many recipients, one per message");

// For good.
pub(super) const LINE_TOO_LONG: Reply = Reply::new(500, "5.5.2", "line too long");
pub(super) const NOT_A_LINE: Reply = Reply::new(500, "5.5.2", "lines end with CRLF, and hold no NUL");
pub(super) const NOT_ASCII: Reply = Reply::new(500, "5.5.2", "commands are ASCII without control characters");
pub(super) const UNKNOWN_COMMAND: Reply = Reply::new(500, "5.5.1", "unknown command");
pub(super) const SYNTAX: Reply = Reply::new(501, "5.5.4", "syntax error in parameters");
pub(super) const BAD_SENDER: Reply = Reply::new(501, "5.1.7", "bad sender address");
pub(super) const BAD_RECIPIENT: Reply = Reply::new(501, "5.1.3", "bad recipient address");
pub(super) const NOT_IMPLEMENTED: Reply = Reply::new(502, "5.5.1", "command not implemented");
pub(super) const BAD_SEQUENCE: Reply = Reply::new(503, "5.5.1", "bad sequence of commands");
pub(super) const PARAMETER_NOT_IMPLEMENTED: Reply = Reply::new(504, "5.5.4", "parameter not implemented");
pub(super) const NO_ALIAS: Reply = Reply::new(550, "5.1.1", "no such alias here");
pub(super) const RECIPIENT_REFUSED: Reply = Reply::new(550, "5.2.1", "mailbox refuses");
pub(super) const BAD_TEXT: Reply =
    Reply::new(550, "5.6.0", "lines end with CRLF, and hold no NUL; not taken");
pub(super) const BOUNCES_ONLY: Reply =
    Reply::new(550, "5.7.1", "this address takes bounces only, with MAIL FROM:<>");
pub(super) const RELAYING_DENIED: Reply = Reply::new(550, "5.7.1", "relaying denied");
pub(super) const TOO_LARGE: Reply = Reply::new(552, "5.3.4", "message too large");
pub(super) const NON_ASCII_ADDRESS: Reply = Reply::new(553, "5.6.7", "non-ASCII addresses are not supported");
pub(super) const MESSAGE_REFUSED: Reply = Reply::new(554, "5.0.0", "message refused");
pub(super) const EARLY_TALKER: Reply = Reply::new(554, "5.5.0", "data before the greeting");
pub(super) const EARLY_DATA: Reply = Reply::new(554, "5.5.0", "data before the 354");
pub(super) const LOOP: Reply = Reply::new(554, "5.4.6", "mail loop");
pub(super) const HEADER_TOO_LARGE: Reply = Reply::new(554, "5.3.4", "header section too large");
pub(super) const NO_8BIT: Reply = Reply::new(554, "5.6.3", "8-bit text cannot be forwarded");
pub(super) const NO_UTF8: Reply = Reply::new(550, "5.6.7", "UTF-8 addresses cannot be forwarded");
pub(super) const UNKNOWN_PARAMETER: Reply = Reply::new(555, "5.5.4", "unknown parameter");

/// The banner.
pub(super) fn greeting(hostname: &str) -> Reply {
    Reply::with_text(220, "", format!("{hostname} ESMTP tempalias"))
}

/// The answer to HELO.
pub(super) fn helo(hostname: &str) -> Reply {
    Reply::with_text(250, "", hostname.to_owned())
}

/// The extensions that not every session is offered.
pub(super) struct Extensions {
    /// SIZE (RFC 1870); 0 stands for no limit.
    pub(super) max_size: u64,
    /// 8BITMIME (RFC 6152).
    pub(super) is_8bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub(super) utf8: bool,
    /// STARTTLS (RFC 3207).
    pub(super) starttls: bool,
}

/// The answer to EHLO.
pub(super) fn ehlo(hostname: &str, extensions: &Extensions) -> Reply {
    let Extensions { max_size, is_8bit, utf8, starttls } = *extensions;
    let mut text = format!("{hostname}\nPIPELINING\nSIZE {max_size}\nENHANCEDSTATUSCODES");
    for (offered, line) in [(is_8bit, "8BITMIME"), (utf8, "SMTPUTF8"), (starttls, "STARTTLS")] {
        if offered {
            text.push('\n');
            text.push_str(line);
        }
    }
    text.push_str("\nLIMITS RCPTMAX=1"); // RFC 9422
    Reply::with_text(250, "", text)
}

/// The client is on a DNS list, whose name tells its people where to ask.
pub(super) fn listed(list: &str) -> Reply {
    Reply::with_text(554, "5.7.1", format!("your address is on the list {list}"))
}

/// Delivered, under this id.
pub(super) fn accepted(id: MessageId) -> Reply {
    Reply::with_text(250, "2.0.0", format!("delivered as {id}"))
}

/// The refusal of a line that cannot be read as a command.
impl From<CommandError> for Reply {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotAscii => NOT_ASCII,
            CommandError::Unknown => UNKNOWN_COMMAND,
            CommandError::NotImplemented => NOT_IMPLEMENTED,
            CommandError::Syntax => SYNTAX,
            CommandError::Sender => BAD_SENDER,
            CommandError::Recipient => BAD_RECIPIENT,
            CommandError::NonAsciiAddress => NON_ASCII_ADDRESS,
            CommandError::ParameterNotImplemented => PARAMETER_NOT_IMPLEMENTED,
            CommandError::UnknownParameter => UNKNOWN_PARAMETER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_one_line_with_code_and_enhanced_code() {
        assert_eq!(NO_ALIAS.to_string(), "550 5.1.1 no such alias here\r\n");
        assert_eq!(START_DATA.to_string(), "354 end with <CRLF>.<CRLF>\r\n");
    }

    #[test]
    fn several_lines_are_joined_by_hyphens() {
        let all = Extensions { max_size: 10, is_8bit: true, utf8: true, starttls: true };
        assert_eq!(
            ehlo("mx.example.com", &all).to_string(),
            "250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 10\r\n250-ENHANCEDSTATUSCODES\r\n\
             250-8BITMIME\r\n250-SMTPUTF8\r\n250-STARTTLS\r\n250 LIMITS RCPTMAX=1\r\n"
        );
    }
}
