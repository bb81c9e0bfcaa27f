//! The order of commands, which mailin's state machine keeps, and what the commands so far have set.
//!
//! mailin's [`Handler`] is synchronous, and the work of a command is not, so each command is fed to the
//! machine as a stand-in that says what became of it ([`ACCEPTED`], [`REFUSED`]); a command out of order
//! it answers with 503, whatever the stand-in says. mailin's other texts are not used. What it cannot
//! parse (`<>`, parameters, quotes) has been parsed by then.
//!
//! Only RCPT is fed twice: as refused, which changes nothing, before the work that it takes, and as
//! accepted after that. DATA is fed once, before its work: however that ends, what follows is MAIL.
//! The text of a message is not fed: a piece of a long line that happens to start with a dot would be
//! unstuffed.

use std::net::IpAddr;

use mailin::response::{NO_MAILBOX, OK};
use mailin::{Handler, Response, Session, SessionBuilder};

use super::reply;
use super::transaction::Transaction;
use crate::smtp::reply::Reply;

/// The path of a command that is carried out.
const ACCEPTED: &str = "accepted";

/// The path of a command that is refused.
const REFUSED: &str = "refused";

/// A session's commands between HELO and the end of DATA.
pub(super) struct Conversation<'a> {
    order: Session<ByPath>,
    hello: Option<Hello>,
    transaction: Option<Transaction<'a>>,
}

/// What the client has called itself.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) name: String,
    /// EHLO, not HELO.
    pub(super) is_extended: bool,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(peer: IpAddr) -> Self {
        // The name is mailin's for its greeting, which is not used.
        let order = SessionBuilder::new("").build(peer, ByPath);
        Conversation { order, hello: None, transaction: None }
    }

    /// The client's HELO or EHLO.
    pub(super) fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// What MAIL has begun.
    pub(super) fn transaction(&self) -> Option<&Transaction<'a>> {
        self.transaction.as_ref()
    }

    /// HELO or EHLO, which end a transaction (RFC 5321 §4.1.4).
    pub(super) fn greet(&mut self, hello: Hello) {
        self.transaction = None;
        self.hello = Some(hello);
        self.order.process(b"HELO x\r\n");
    }

    /// MAIL, with the transaction that it begins, or why it begins none.
    ///
    /// # Errors
    /// That, or 503.
    pub(super) fn mail(&mut self, begun: Result<Transaction<'a>, Reply>) -> Result<(), Reply> {
        let path = if begun.is_ok() { ACCEPTED } else { REFUSED };
        self.feed(&format!("MAIL FROM:<{path}>\r\n"))?;
        self.transaction = Some(begun?);
        Ok(())
    }

    /// RCPT, before its work: the transaction that it is for. Once the recipient is accepted,
    /// [`Conversation::recipient_accepted`] follows.
    ///
    /// # Errors
    /// 503.
    pub(super) fn rcpt(&mut self) -> Result<&mut Transaction<'a>, Reply> {
        self.feed(&format!("RCPT TO:<{REFUSED}>\r\n"))?;
        self.transaction.as_mut().ok_or(reply::BAD_SEQUENCE)
    }

    /// RCPT has been carried out.
    pub(super) fn recipient_accepted(&mut self) {
        self.order.process(format!("RCPT TO:<{ACCEPTED}>\r\n").as_bytes());
    }

    /// DATA: the transaction that it ends. Until [`Conversation::end_of_data`] no command is in order.
    ///
    /// # Errors
    /// 503.
    pub(super) fn data(&mut self) -> Result<Transaction<'a>, Reply> {
        self.feed("DATA\r\n")?;
        self.transaction.take().ok_or(reply::BAD_SEQUENCE)
    }

    /// The message has come to its end, whatever that was.
    pub(super) fn end_of_data(&mut self) {
        self.order.process(b".\r\n");
    }

    /// RSET.
    pub(super) fn reset(&mut self) {
        self.transaction = None;
        self.order.process(b"RSET\r\n");
    }

    fn feed(&mut self, command: &str) -> Result<(), Reply> {
        if self.order.process(command.as_bytes()).code == reply::BAD_SEQUENCE.code {
            return Err(reply::BAD_SEQUENCE);
        }
        Ok(())
    }
}

/// Answers mailin by the path of the command.
struct ByPath;

fn answer(path: &str) -> Response {
    if path == REFUSED { NO_MAILBOX } else { OK }
}

impl Handler for ByPath {
    fn mail(&mut self, _: IpAddr, _: &str, path: &str) -> Response {
        answer(path)
    }

    fn rcpt(&mut self, path: &str) -> Response {
        answer(path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuzzing::lonely_mx;
    use super::*;
    use crate::smtp::command::Mail;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// What each of `commands` is answered: whether it is in order.
    fn are_in_order<const N: usize>(commands: [&str; N]) -> [bool; N] {
        let (mx, _dir) = lonely_mx();
        let setup = mx.setup();
        let mail = Mail { null_sender: true, size: None, is_8bit: false, utf8: false };
        let mut conversation = Conversation::new(PEER);
        commands.map(|command| match command {
            "HELO" => {
                conversation.greet(Hello { name: "x".into(), is_extended: false });
                true
            }
            "MAIL" => conversation.mail(Ok(Transaction::begin(&setup, PEER.into(), mail).unwrap())).is_ok(),
            "bad MAIL" => conversation.mail(Err(reply::TOO_LARGE)) == Err(reply::TOO_LARGE),
            "RCPT" => {
                let is_in_order = conversation.rcpt().is_ok();
                conversation.recipient_accepted();
                is_in_order
            }
            "bad RCPT" => conversation.rcpt().is_ok(),
            "DATA" => conversation.data().is_ok(),
            "." => {
                conversation.end_of_data();
                true
            }
            _ => {
                conversation.reset();
                true
            }
        })
    }

    #[tokio::test]
    async fn commands_come_in_order() {
        assert_eq!(are_in_order(["MAIL", "bad MAIL", "RCPT", "DATA"]), [false; 4]);
        assert_eq!(are_in_order(["HELO", "RCPT", "DATA", "MAIL"]), [true, false, false, true]);
        assert_eq!(are_in_order(["HELO", "MAIL", "MAIL", "DATA"]), [true, true, false, false]);
        assert_eq!(are_in_order(["HELO", "MAIL", "RCPT", "MAIL"]), [true, true, true, false]);
        assert_eq!(are_in_order(["HELO", "MAIL", "RCPT", "RCPT", "DATA"]), [true; 5]);
    }

    #[tokio::test]
    async fn what_is_refused_changes_nothing() {
        assert_eq!(are_in_order(["HELO", "bad MAIL", "RCPT", "MAIL"]), [true, true, false, true]);
        assert_eq!(
            are_in_order(["HELO", "MAIL", "bad RCPT", "bad RCPT", "DATA", "RCPT"]),
            [true, true, true, true, false, true]
        );
        assert_eq!(are_in_order(["HELO", "MAIL", "RCPT", "bad RCPT", "DATA"]), [true; 5]);
    }

    #[tokio::test]
    async fn reset_end_of_data_and_a_second_hello_lead_back_to_mail() {
        assert_eq!(are_in_order(["HELO", "MAIL", "RCPT", "RSET", "RCPT", "MAIL"])[4..], [false, true]);
        assert_eq!(are_in_order(["HELO", "MAIL", "RCPT", "HELO", "RCPT", "MAIL"])[4..], [false, true]);
        assert_eq!(are_in_order(["HELO", "MAIL", "RCPT", "DATA", ".", "RCPT", "MAIL"])[5..], [false, true]);
    }

    #[tokio::test]
    async fn reset_before_hello_is_no_hello() {
        assert_eq!(are_in_order(["RSET", "MAIL"]), [true, false]);
    }

    /// What of mailin 0.6.5 this module works around; a new version that fixes one may simplify it.
    mod mailin_facts {
        use std::sync::Arc;

        use mailin::{Action, AuthMechanism};

        use super::*;

        struct Fixed(Response);

        impl Handler for Fixed {
            fn data(&mut self, _: &[u8]) -> std::io::Result<()> {
                if self.0.is_error { Err(std::io::Error::other("no")) } else { Ok(()) }
            }

            fn data_end(&mut self) -> Response {
                self.0.clone()
            }
        }

        struct Recorder(Arc<std::sync::Mutex<Vec<u8>>>);

        impl Handler for Recorder {
            fn data(&mut self, line: &[u8]) -> std::io::Result<()> {
                self.0.lock().unwrap().extend_from_slice(line);
                Ok(())
            }
        }

        fn session<H: Handler>(handler: H, lines: &[&str]) -> Session<H> {
            let mut session = SessionBuilder::new("mx").build(PEER, handler);
            for line in lines {
                let response = session.process(format!("{line}\r\n").as_bytes());
                assert!(!response.is_error, "{line}: {response:?}");
            }
            session
        }

        fn code<H: Handler>(session: &mut Session<H>, line: &str) -> u16 {
            session.process(format!("{line}\r\n").as_bytes()).code
        }

        const UP_TO_DATA: &[&str] = &["HELO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"];

        #[test]
        fn the_null_sender_does_not_parse() {
            assert_eq!(code(&mut session(Fixed(OK), &["HELO x"]), "MAIL FROM:<>"), 500);
        }

        #[test]
        fn parameters_other_than_body_do_not_parse() {
            let mut session = session(Fixed(OK), &["HELO x"]);
            assert_eq!(code(&mut session, "MAIL FROM:<a@b> SIZE=10"), 500);
            assert_eq!(code(&mut session, "MAIL FROM:<a@b> BODY=8BITMIME"), 250);
            assert_eq!(code(&mut session, "RCPT TO:<a@b> NOTIFY=NEVER"), 500);
        }

        #[test]
        fn quoted_local_parts_and_a_space_before_the_path_do_not_parse() {
            let mut session = session(Fixed(OK), &["HELO x", "MAIL FROM:<a@b>"]);
            assert_eq!(code(&mut session, "RCPT TO:<\"a b\"@c>"), 500);
            assert_eq!(code(&mut session, "RCPT TO: <a@c>"), 500);
        }

        #[test]
        fn ehlo_answers_a_fixed_list() {
            let mut session = SessionBuilder::new("mx")
                .enable_start_tls()
                .enable_auth(AuthMechanism::Plain)
                .insecure_enable_plaintext_auth()
                .build(PEER, Fixed(OK));
            let response = session.process(b"EHLO x\r\n").buffer().unwrap();
            assert_eq!(
                str::from_utf8(&response).unwrap(),
                "250-server offers extensions:\r\n250-8BITMIME\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"
            );
        }

        #[test]
        fn an_error_in_the_middle_of_data_is_answered_at_once() {
            let mut session = session(Fixed(NO_MAILBOX), UP_TO_DATA);
            let response = session.process(b"text\r\n");
            assert_eq!((response.code, response.action), (554, Action::Reply));
        }

        #[test]
        fn an_error_at_the_end_of_data_leaves_it_in_data() {
            let mut session = session(Fixed(NO_MAILBOX), UP_TO_DATA);
            assert_eq!(session.process(b".\r\n").code, 550);
            assert_eq!(session.process(b"NOOP\r\n").code, 554, "taken for text");
        }

        #[test]
        fn an_error_not_marked_as_one_ends_data() {
            let mut verdict = NO_MAILBOX;
            verdict.is_error = false;
            let mut session = session(Fixed(verdict), UP_TO_DATA);
            assert_eq!(session.process(b".\r\n").code, 550);
            assert_eq!(session.process(b"NOOP\r\n").code, 250);
        }

        #[test]
        fn a_bare_lf_passes_for_a_line_end_inside_data() {
            let text = Arc::new(std::sync::Mutex::new(Vec::new()));
            let mut session = session(Recorder(text.clone()), UP_TO_DATA);
            session.process(b"smuggled\n");
            assert_eq!(session.process(b".\r\n").code, 250, "LF . CRLF has ended the message");
            assert_eq!(*text.lock().unwrap(), b"smuggled\n");
        }

        /// So the conversation has to forget the transaction by itself.
        #[test]
        fn rset_calls_no_hook() {
            struct NoHooks;

            impl Handler for NoHooks {
                fn helo(&mut self, _: IpAddr, _: &str) -> Response {
                    panic!("a hook was called")
                }
            }

            assert_eq!(code(&mut SessionBuilder::new("mx").build(PEER, NoHooks), "RSET"), 250);
        }

        #[test]
        fn a_piece_that_starts_with_a_dot_is_unstuffed_wherever_it_stands() {
            let text = Arc::new(std::sync::Mutex::new(Vec::new()));
            let mut session = session(Recorder(text.clone()), UP_TO_DATA);
            session.process(b"a long line, cut before its");
            session.process(b".dot\r\n");
            assert_eq!(*text.lock().unwrap(), b"a long line, cut before itsdot\r\n");
        }
    }
}
