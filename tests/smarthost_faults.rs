//! docs/smtp.md §3 §4 §10: bad days: the smarthost fails at every stage, clients vanish, the disk is full, everybody comes at
//! once. The invariant: per alias, delivered ≤ granted, and delivered + left + in doubt = granted.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io, thread};

use tempfile::TempDir;

use crate::support::appliance::{Alias, Appliance, CROWD};
use crate::support::client::{Client, Reply};
use crate::support::record::Record;
use crate::support::smarthost::{Behaviour, Smarthost, Stage};
use crate::support::wait;

/// So that a silent smarthost does not make a slow test, nor a busy client a stopped one.
const IMPATIENT: &[(&str, &str)] = &[
    ("smarthost.connect_timeout", "\"1s\""),
    ("smarthost.command_timeout", "\"1s\""),
    ("smarthost.write_timeout", "\"1s\""),
    ("smarthost.final_timeout", "\"1s\""),
    ("smtp.connections_per_minute", "0"),
];

/// Every way to fail without a proper reply.
const SPEECHLESS: [Behaviour; 5] =
    [Behaviour::Drop, Behaviour::Silent, Behaviour::Garbage, Behaviour::EndlessReply, Behaviour::EndlessLine];

const USES: u32 = 100;

/// An impatient appliance, a smarthost, and one alias.
struct Scene {
    smarthost: Smarthost,
    appliance: Appliance,
    alias: Alias,
}

impl Scene {
    fn new() -> Self {
        let smarthost = Smarthost::start();
        let appliance = Appliance::start_with(smarthost.address(), &[IMPATIENT, CROWD].concat());
        let alias = appliance.alias("target@mailbox.test", USES);
        Scene { smarthost, appliance, alias }
    }

    fn attempt(&self) -> Reply {
        Client::hello(self.appliance.smtp).deliver(&self.alias.email)
    }

    /// With each of `behaviours` at `stage`: the answer, nothing spent, no dot, no connection left.
    #[track_caller]
    fn costs_nothing(&self, stage: Stage, behaviours: &[Behaviour], answer: &str) {
        for &behaviour in behaviours {
            self.smarthost.set(stage, behaviour);
            let reply = self.attempt();
            assert!(reply.text.starts_with(answer), "{behaviour:?} at {stage:?}: {reply:?}");
            self.is_clean(&format!("{behaviour:?} at {stage:?}"));
            assert_eq!(self.smarthost.count(|record| record.messages.len()), 0, "a dot was sent");
        }
        self.recovers(stage);
    }

    /// With `behaviour` in the middle of the text: the answer, nothing spent, no dot, no connection left.
    #[track_caller]
    fn costs_nothing_in_the_text(&self, behaviour: Behaviour, answer: &str) {
        self.smarthost.set(Stage::Body, behaviour);
        let mut client = Client::hello(self.appliance.smtp);
        client.begin(&self.alias.email);
        client.send("Subject: big\r\n\r\n");
        wait::until("the smarthost is left", || {
            client.send(format!("{}\r\n", "x".repeat(100_000)));
            (self.smarthost.count(|record| record.open) == 0).then_some(())
        });
        client.send(".\r\n");
        let reply = client.reply();
        assert!(reply.text.starts_with(answer), "{behaviour:?}: {reply:?}");
        self.is_clean(&format!("{behaviour:?} in the text"));
        assert_eq!(self.smarthost.count(|record| record.messages.len()), 0, "a dot was sent");
    }

    /// No use spent, no connection upstream, and no QUIT that could end up in a message.
    #[track_caller]
    fn is_clean(&self, when: &str) {
        assert_eq!(self.appliance.uses_left(&self.alias), u64::from(USES), "uses left, {when}");
        wait::until_equal(&format!("open connections, {when}"), 0, || self.smarthost.count(|r| r.open));
        assert_eq!(self.smarthost.count(|record| record.heard("QUIT")), 0, "QUIT, {when}");
    }

    /// Once the smarthost is well again, so is the mail.
    #[track_caller]
    fn recovers(&self, stage: Stage) {
        self.smarthost.set(stage, Behaviour::Accept);
        assert_eq!(self.attempt().code(), 250);
        assert_eq!(self.appliance.uses_left(&self.alias), u64::from(USES) - 1);
    }
}

/// A place nobody listens at.
fn nowhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1).into()
}

#[test]
fn a_faulty_greeting_means_try_again() {
    let scene = Scene::new();
    let faults =
        [&SPEECHLESS[..], &[421, 451, 500, 554].map(Behaviour::Answer), &[Behaviour::Twice]].concat();
    scene.costs_nothing(Stage::Greeting, &faults, "451 4.4.1");
}

#[test]
fn a_faulty_answer_to_ehlo_means_try_again() {
    let scene = Scene::new();
    let faults = [&SPEECHLESS[..], &[421, 451, 500, 502, 550].map(Behaviour::Answer)].concat();
    scene.costs_nothing(Stage::Ehlo, &faults, "451 4.4.1");
}

#[test]
fn a_faulty_answer_to_mail_means_try_again() {
    let scene = Scene::new();
    let faults = [&SPEECHLESS[..], &[421, 451, 452, 550, 552, 553].map(Behaviour::Answer)].concat();
    scene.costs_nothing(Stage::Mail, &faults, "451 4.4.1");
}

#[test]
fn a_faulty_answer_to_rcpt_means_try_again_but_a_refusal_is_one() {
    let scene = Scene::new();
    let temporary = [421, 450, 451, 452, 552].map(Behaviour::Answer);
    let permanent = [500, 550, 551, 553, 554].map(Behaviour::Answer);
    scene.costs_nothing(Stage::Rcpt, &SPEECHLESS, "451 4.");
    let scene = Scene::new();
    scene.costs_nothing(Stage::Rcpt, &temporary, "451 4.2.0");
    let scene = Scene::new();
    scene.costs_nothing(Stage::Rcpt, &permanent, "550 5.2.1");
}

#[test]
fn a_faulty_answer_to_data_means_try_again_but_a_refusal_is_one() {
    let scene = Scene::new();
    let temporary = [&SPEECHLESS[..], &[421, 451, 250].map(Behaviour::Answer)].concat();
    scene.costs_nothing(Stage::Data, &temporary, "451 4.");
    let scene = Scene::new();
    scene.costs_nothing(Stage::Data, &[500, 550, 554].map(Behaviour::Answer), "554 5.");
}

#[test]
fn a_smarthost_that_fails_in_the_text_costs_nothing() {
    let scene = Scene::new();
    // It hangs up, or says something that is no refusal.
    for behaviour in [Behaviour::Drop, Behaviour::Garbage, Behaviour::Answer(250), Behaviour::LastWord(354)] {
        scene.costs_nothing_in_the_text(behaviour, "451 4.4.1");
    }
    scene.recovers(Stage::Body);
}

/// Most often because the message gets too large.
#[test]
fn a_refusal_in_the_middle_of_the_text_is_passed_on_and_costs_nothing() {
    let scene = Scene::new();
    for (code, answer) in
        [(421, "451 4.3.0"), (452, "451 4.3.0"), (550, "554 5.0.0"), (552, "552 5.3.4"), (554, "554 5.0.0")]
    {
        // It reads on, or hangs up.
        for behaviour in [Behaviour::Answer(code), Behaviour::LastWord(code)] {
            scene.costs_nothing_in_the_text(behaviour, answer);
        }
    }
    scene.recovers(Stage::Body);
}

#[test]
fn a_use_is_given_back_when_the_smarthost_refuses_the_message() {
    let scene = Scene::new();
    for (code, answer) in
        [(421, "451 4."), (450, "451 4."), (452, "451 4."), (550, "554 5."), (552, "552 5.3.4")]
    {
        scene.smarthost.set(Stage::Dot, Behaviour::Answer(code));
        let reply = scene.attempt();
        assert!(reply.text.starts_with(answer), "after {code}: {reply:?}");
        assert_eq!(scene.appliance.uses_left(&scene.alias), u64::from(USES), "uses left, after {code}");
    }
    scene.recovers(Stage::Dot);
}

#[test]
fn a_use_stays_spent_when_the_answer_is_in_doubt() {
    let scene = Scene::new();
    for (spent, behaviour) in (1..).zip(SPEECHLESS) {
        scene.smarthost.set(Stage::Dot, behaviour);
        let reply = scene.attempt();
        assert!(reply.text.starts_with("451 4.4.2"), "{behaviour:?}: {reply:?}");
        assert_eq!(scene.appliance.uses_left(&scene.alias), u64::from(USES) - spent, "after {behaviour:?}");
        wait::until_equal("open connections", 0, || scene.smarthost.count(|record| record.open));
    }
}

#[test]
fn an_answer_too_many_never_settles_a_message() {
    let scene = Scene::new();
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Data] {
        scene.smarthost.set(stage, Behaviour::Twice);
        let reply = scene.attempt();
        assert!(reply.text.starts_with("451 4."), "{stage:?}: {reply:?}");
        scene.is_clean(&format!("twice at {stage:?}"));
        scene.smarthost.set(stage, Behaviour::Accept);
    }
}

#[test]
fn a_refusal_that_was_not_the_dots_leaves_the_message_in_doubt() {
    let scene = Scene::new();
    for (spent, code) in (1..).zip([451, 554]) {
        // Said in the middle of the text, it may arrive only when the dot is on its way.
        scene.smarthost.set(Stage::Dot, Behaviour::TakenBack(code));
        let reply = scene.attempt();
        assert!(reply.text.starts_with("451 4.4.2"), "{code}: {reply:?}");
        assert_eq!(scene.smarthost.accepted(), spent, "delivered all the same");
        assert_eq!(scene.appliance.uses_left(&scene.alias), u64::from(USES) - spent as u64);
        wait::until_equal("open connections", 0, || scene.smarthost.count(|record| record.open));
    }
}

#[test]
fn a_smarthost_that_is_down_means_try_again() {
    let appliance = Appliance::start_with(nowhere(), IMPATIENT);
    let alias = appliance.alias("target@mailbox.test", 1);
    for _ in 0..3 {
        let reply = Client::hello(appliance.smtp).deliver(&alias.email);
        assert!(reply.text.starts_with("451 4.4.1"), "{reply:?}");
    }
    assert_eq!(appliance.uses_left(&alias), 1);
}

#[test]
fn a_client_that_leaves_while_the_smarthost_is_silent_leaves_nothing_behind() {
    let scene = Scene::new();
    for stage in [Stage::Greeting, Stage::Mail, Stage::Rcpt] {
        scene.smarthost.set(stage, Behaviour::Silent);
        let connections = scene.smarthost.count(|record| record.connections);
        let mut client = Client::hello(scene.appliance.smtp);
        client.command("MAIL FROM:<sender@client.test>", "250");
        client.send(format!("RCPT TO:<{}>\r\n", scene.alias.email));
        wait::until_equal("connections", connections + 1, || scene.smarthost.count(|r| r.connections));
        drop(client);
        scene.is_clean(&format!("gone while it was silent at {stage:?}"));
        scene.smarthost.set(stage, Behaviour::Accept);
    }
}

#[test]
fn a_thousand_failed_sessions_leave_no_descriptor_behind() {
    const SESSIONS: usize = 1000;
    const AT_ONCE: usize = 20;
    let faults = [
        (Stage::Greeting, Behaviour::Drop),
        (Stage::Greeting, Behaviour::Answer(554)),
        (Stage::Ehlo, Behaviour::Garbage),
        (Stage::Mail, Behaviour::Answer(451)),
        (Stage::Rcpt, Behaviour::Drop),
        (Stage::Rcpt, Behaviour::Answer(550)),
        (Stage::Data, Behaviour::Answer(421)),
        (Stage::Data, Behaviour::Drop),
        (Stage::Dot, Behaviour::Answer(451)),
        (Stage::Dot, Behaviour::Answer(554)),
    ];
    let scene = Scene::new();
    let fail = |times: usize| {
        for (stage, behaviour) in faults {
            scene.smarthost.set(stage, behaviour);
            thread::scope(|scope| {
                for _ in 0..AT_ONCE {
                    scope.spawn(|| (0..times).for_each(|_| assert!(scene.attempt().code() >= 400)));
                }
            });
            scene.smarthost.set(stage, Behaviour::Accept);
        }
        wait::until_equal("open connections", 0, || scene.smarthost.count(|record| record.open));
    };
    // What is opened once and kept (readers of the ledger) is open after the first few.
    fail(2);
    let settled =
        |limit| wait::until("descriptors", || Some(scene.appliance.descriptors()).filter(|n| n <= &limit));
    let before = settled(usize::MAX);
    fail(SESSIONS / AT_ONCE / faults.len());
    let connections = scene.smarthost.count(|record| record.connections);
    assert!(connections >= SESSIONS, "only {connections} sessions came so far as the smarthost");
    // A leak would be a thousand; another reader of the ledger is none.
    settled(before + 12);
    assert_eq!(scene.appliance.uses_left(&scene.alias), u64::from(USES));
}

#[test]
fn of_a_thousand_messages_at_once_to_one_use_exactly_one_is_delivered() {
    const CLIENTS: usize = 1000;
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), CROWD);
    let alias = appliance.alias("target@mailbox.test", 1);
    // Each has everything but its final dot at the smarthost, so all compete for the one use.
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::hello(appliance.smtp)).collect();
    Client::begin_all(&mut clients, &alias.email);
    clients.iter_mut().for_each(|client| client.send("Subject: me\r\n\r\nme\r\n"));
    clients.iter_mut().for_each(|client| client.send(".\r\n"));
    let replies: Vec<_> = clients.iter_mut().map(|client| client.reply().text).collect();

    let delivered = replies.iter().filter(|reply| reply.starts_with("250 2.0.0")).count();
    let refused = replies.iter().filter(|reply| reply.starts_with("550 5.1.1")).count();
    assert_eq!((delivered, refused), (1, CLIENTS - 1));
    assert_eq!(smarthost.count(|record| record.messages.len()), 1);
    assert_eq!(appliance.uses_left(&alias), 0);
    wait::until_equal("messages cut", CLIENTS - 1, || smarthost.count(|record| record.cut.len()));
}

#[test]
fn a_hundred_messages_of_a_megabyte_need_little_memory() {
    const MESSAGES: usize = 100;
    /// In KiB. Held in memory they would be 100 MiB.
    const LITTLE: u64 = 32 * 1024;
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), CROWD);
    let alias = appliance.alias("target@mailbox.test", USES);
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 250);
    let before = appliance.peak_memory();

    let line = format!("{}\r\n", "x".repeat(1022));
    let mut clients: Vec<_> = (1..MESSAGES).map(|_| Client::hello(appliance.smtp)).collect();
    Client::begin_all(&mut clients, &alias.email);
    // All grow side by side, so that all are there at once.
    for _ in 0..16 {
        clients.iter_mut().for_each(|client| client.send(line.repeat(64)));
    }
    clients.iter_mut().for_each(|client| client.send(".\r\n"));
    for client in &mut clients {
        client.expect("250");
    }
    assert_eq!(smarthost.accepted(), MESSAGES);
    let grown = appliance.peak_memory() - before;
    assert!(grown < LITTLE, "it took {grown} KiB more");
}

/// Whoever reads the log may go away, and the disk it goes to may be full: mail goes on.
#[test]
fn a_log_that_cannot_be_written_costs_nothing() {
    let (reader, gone) = io::pipe().expect("a pipe can be made");
    drop(reader);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    for log in [Stdio::from(gone), Stdio::from(full)] {
        let smarthost = Smarthost::start();
        let mut appliance = Appliance::start_logging_to(log, smarthost.address(), &[]);
        let alias = appliance.alias("target@mailbox.test", 3);
        for left in [2, 1, 0] {
            assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 250);
            assert_eq!(appliance.uses_left(&alias), left);
        }
        assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 550);
        assert_eq!(smarthost.accepted(), 3);
        assert_eq!(appliance.stop().code(), Some(0));
    }
}

/// A small file system of its own; unmounted when dropped.
struct TinyDisk(TempDir);

impl TinyDisk {
    /// `None` when this user may not mount.
    fn mount() -> Option<Self> {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(dir.path()).output();
        mount.is_ok_and(|output| output.status.success()).then(|| TinyDisk(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes until nothing more fits; removing the file makes room again.
    fn fill(&self) -> impl Fn() {
        let file = self.path().join("filler");
        for size in [64 * 1024, 4096, 1] {
            let mut filler =
                fs::OpenOptions::new().create(true).append(true).open(&file).expect("a file opens");
            while std::io::Write::write_all(&mut filler, &vec![0; size]).is_ok() {}
        }
        move || fs::remove_file(&file).expect("the filler is there")
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || thread::panicking(), "still mounted");
    }
}

#[test]
fn a_full_disk_is_survived_and_costs_nothing() {
    let Some(disk) = TinyDisk::mount() else {
        eprintln!("SKIPPED: a small disk can only be mounted with root's rights");
        return;
    };
    let smarthost = Smarthost::start();
    let data_dir = format!("{:?}", disk.path());
    let log = disk.path().join("log");
    let appliance = Appliance::start_logging_to(
        fs::File::create(&log).expect("there is room"),
        smarthost.address(),
        &[("data_dir", &data_dir)],
    );
    let alias = appliance.alias("target@mailbox.test", 5);
    let order = serde_json::json!({"target": "other@mailbox.test", "max-usage": 1});
    let logged = || fs::metadata(&log).expect("the log is there").len();
    let create = || {
        let request = ureq::post(format!("http://{}/aliases", appliance.http)).config();
        let response = request.http_status_as_error(false).build().send_json(&order);
        response.expect("the API answers").status().as_u16()
    };

    let make_room = disk.fill();
    // Until the log has filled what was left of its last page, and more would have been written.
    wait::until("there is no room for the log", || {
        let before = logged();
        let reply = Client::hello(appliance.smtp).deliver(&alias.email);
        assert!(reply.text.starts_with("452 4.3.1"), "{reply:?}");
        (logged() == before).then_some(())
    });
    assert_eq!(create(), 503);
    assert_eq!(appliance.uses_left(&alias), 5);
    assert_eq!(smarthost.count(|record| record.messages.len()), 0);

    make_room();
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 250);
    assert_eq!(create(), 201);
    assert_eq!(appliance.uses_left(&alias), 4);
    assert_eq!(smarthost.count(Record::accepted), 1);
}
