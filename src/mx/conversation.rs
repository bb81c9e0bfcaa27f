//! The order of commands: mailin's state machine, asked before and told after.
//!
//! mailin's `Handler` is synchronous, and our work is not. So the machine is driven with a fixed
//! *verdict* instead: [`Conversation::allows`] feeds a command with the verdict "refused", which
//! leaves the state as it is, and sees whether mailin got as far as asking for a verdict; after
//! the work is done, [`Conversation::advance`] feeds it again with "accepted". mailin's texts are
//! not used, and it sees stand-ins for addresses: what it cannot parse (`<>`, parameters, quotes)
//! has been parsed by then. It does not see the text of a message either: a piece of a long line
//! that happens to start with a dot would be unstuffed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mailin::response::{NO_MAILBOX, OK};
use mailin::{Handler, Response, Session, SessionBuilder};

/// The commands whose place in the conversation matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Hello,
    Mail,
    Rcpt,
    Data,
}

/// Where a session is between HELO and the end of DATA.
pub(super) struct Conversation {
    session: Session<Verdict>,
    verdict: Verdict,
}

impl Conversation {
    pub(super) fn new(peer: IpAddr) -> Self {
        let verdict = Verdict::default();
        // The name is mailin's for its greeting, which we do not use.
        Conversation { session: SessionBuilder::new("").build(peer, verdict.clone()), verdict }
    }

    /// Whether `verb` may come now. Changes nothing.
    pub(super) fn allows(&mut self, verb: Verb) -> bool {
        self.feed(verb, false)
    }

    /// `verb` has been carried out.
    ///
    /// # Panics
    /// When it was not allowed.
    pub(super) fn advance(&mut self, verb: Verb) {
        assert!(self.feed(verb, true), "{verb:?} is carried out only where it is allowed");
    }

    /// Forgets MAIL and RCPT: RSET, or a message that failed before its text.
    pub(super) fn reset(&mut self) {
        self.session.process(b"RSET\r\n");
    }

    /// The end of a message: the next may follow.
    pub(super) fn end_of_data(&mut self) {
        self.verdict.accept.store(true, Ordering::Relaxed);
        self.session.process(b".\r\n");
    }

    /// Feeds a stand-in for `verb`; true when mailin asked for a verdict on it.
    fn feed(&mut self, verb: Verb, accept: bool) -> bool {
        self.verdict.accept.store(accept, Ordering::Relaxed);
        self.verdict.asked.store(false, Ordering::Relaxed);
        self.session.process(match verb {
            Verb::Hello => b"HELO x\r\n",
            Verb::Mail => b"MAIL FROM:<x>\r\n",
            Verb::Rcpt => b"RCPT TO:<x>\r\n",
            Verb::Data => b"DATA\r\n",
        });
        self.verdict.asked.load(Ordering::Relaxed)
    }
}

/// The handler that mailin owns, and our hold on it. One task uses both, so the order of the
/// atomics does not matter.
#[derive(Clone, Default)]
struct Verdict {
    accept: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
}

impl Verdict {
    fn give(&self) -> Response {
        self.asked.store(true, Ordering::Relaxed);
        if self.accept.load(Ordering::Relaxed) { OK } else { NO_MAILBOX }
    }
}

impl Handler for Verdict {
    fn helo(&mut self, _: IpAddr, _: &str) -> Response {
        self.give()
    }

    fn mail(&mut self, _: IpAddr, _: &str, _: &str) -> Response {
        self.give()
    }

    fn rcpt(&mut self, _: &str) -> Response {
        self.give()
    }

    fn data_start(&mut self, _: &str, _: &str, _: bool, _: &[String]) -> Response {
        self.give()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Which verbs may come now.
    fn allowed(conversation: &mut Conversation) -> Vec<Verb> {
        let verbs = [Verb::Hello, Verb::Mail, Verb::Rcpt, Verb::Data];
        verbs.into_iter().filter(|verb| conversation.allows(*verb)).collect()
    }

    fn after(verbs: &[Verb]) -> Conversation {
        let mut conversation = Conversation::new(PEER);
        verbs.iter().for_each(|verb| conversation.advance(*verb));
        conversation
    }

    #[test]
    fn commands_come_in_order() {
        use Verb::*;
        assert_eq!(allowed(&mut after(&[])), [Hello]);
        assert_eq!(allowed(&mut after(&[Hello])), [Hello, Mail]);
        assert_eq!(allowed(&mut after(&[Hello, Mail])), [Hello, Rcpt]);
        assert_eq!(allowed(&mut after(&[Hello, Mail, Rcpt])), [Hello, Rcpt, Data]);
        assert_eq!(allowed(&mut after(&[Hello, Mail, Rcpt, Rcpt])), [Hello, Rcpt, Data]);
    }

    #[test]
    fn asking_changes_nothing() {
        let mut conversation = after(&[Verb::Hello, Verb::Mail]);
        for _ in 0..3 {
            assert_eq!(allowed(&mut conversation), [Verb::Hello, Verb::Rcpt]);
        }
    }

    #[test]
    fn reset_end_of_data_and_a_second_hello_lead_back_to_mail() {
        use Verb::*;
        let mut conversation = after(&[Hello, Mail, Rcpt]);
        conversation.reset();
        assert_eq!(allowed(&mut conversation), [Hello, Mail]);
        let mut conversation = after(&[Hello, Mail, Rcpt, Data]);
        conversation.end_of_data();
        assert_eq!(allowed(&mut conversation), [Hello, Mail]);
        let mut conversation = after(&[Hello, Mail, Rcpt, Hello]);
        assert_eq!(allowed(&mut conversation), [Hello, Mail]);
    }

    #[test]
    fn reset_before_hello_is_no_hello() {
        let mut conversation = after(&[]);
        conversation.reset();
        assert_eq!(allowed(&mut conversation), [Verb::Hello]);
    }

    /// What of mailin 0.6.5 this module works around; a new version that mends one may simplify it.
    mod mailin_facts {
        use super::*;
        use mailin::{Action, AuthMechanism};

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

        /// None of the hooks there are; so the driver has to know by itself.
        #[test]
        fn rset_calls_no_hook() {
            let mut conversation = after(&[Verb::Hello, Verb::Mail, Verb::Rcpt]);
            conversation.verdict.asked.store(false, Ordering::Relaxed);
            conversation.reset();
            assert!(!conversation.verdict.asked.load(Ordering::Relaxed));
            assert_eq!(allowed(&mut conversation), [Verb::Hello, Verb::Mail], "and yet it was carried out");
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
