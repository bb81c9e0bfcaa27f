//! The writer thread: owns the only write connection and commits in groups.
//!
//! It takes all requests that are queued, up to [`GROUP`], runs each in a savepoint of one
//! transaction, commits once (one fsync for all of them), then answers each. A request that
//! fails, or panics, takes nothing of its neighbours with it; a commit that fails fails all of
//! the group.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use crate::ledger::counters::Counters;
use crate::ledger::{LedgerError, Result};
use crate::metrics::seconds;

/// The most requests in one transaction: bounds how long the first of them waits.
const GROUP: usize = 512;

/// Requests that may wait in the queue; further callers wait to be queued.
const QUEUE: usize = 4096;

/// A group waits for further requests as long as the last commit took, and no longer than this (the idea is
/// PostgreSQL's `commit_delay`).
const MAX_DELAY: Duration = Duration::from_millis(1);

/// Between two polls of the queue while a group waits.
const POLL_INTERVAL: Duration = Duration::from_micros(50);

/// When a reader kept the log from being emptied, the next attempt comes with a commit after this.
const EMPTY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The sending side of the writer thread.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Write(Box<dyn Request>),
    Checkpoint(oneshot::Sender<Result<()>>),
    Close,
}

/// A request in three steps, so that requests of every kind can share a transaction.
trait Request: Send {
    /// Runs inside a savepoint, which is undone on an error.
    fn run(&mut self, connection: &Connection) -> Result<()>;
    /// Nothing of this request has happened, whatever `run` thought.
    fn fail(&mut self, error: &LedgerError);
    /// Tells the caller. All is durable by now.
    fn answer(self: Box<Self>);
}

/// The one kind of [`Request`]: a closure and the channel its result goes to.
struct Call<T, F> {
    work: Option<F>,
    result: Result<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Request for Call<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> Result<()> {
        if let Some(work) = self.work.take() {
            self.result = work(connection);
        }
        self.result.as_ref().map(|_| ()).map_err(LedgerError::clone)
    }

    fn fail(&mut self, error: &LedgerError) {
        self.result = Err(error.clone());
    }

    fn answer(self: Box<Self>) {
        // The caller may have stopped waiting.
        let _ = self.reply.send(self.result);
    }
}

impl Writer {
    /// Starts the thread on `connection`, whose log is moved by `checkpointer`.
    pub(super) fn start(connection: Connection, checkpointer: Checkpointer, counters: Arc<Counters>) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || serve(connection, checkpointer, requests, &counters))
            .expect("the system can start one more thread at start-up");
        Writer { queue, thread: Mutex::new(Some(thread)) }
    }

    /// Runs `work` on the write connection; what it did is durable when this returns `Ok`.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call { work: Some(work), result: Err(LedgerError::Closed), reply };
        self.send(Message::Write(Box::new(call))).await?;
        answer.await.unwrap_or(Err(LedgerError::Closed))
    }

    /// Waits until no request will be carried out any more: the writer was closed, or its thread is gone.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Moves the write-ahead log into the database and empties it.
    pub(super) async fn checkpoint(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Checkpoint(reply)).await?;
        answer.await.unwrap_or(Err(LedgerError::Closed))
    }

    /// Lets the thread finish what is queued, and waits for its end.
    pub(super) async fn close(&self) {
        // Fails only when the thread has ended already.
        let _ = self.queue.send(Message::Close).await;
        let thread = self.thread.lock().expect("nobody panics while holding this lock").take();
        if let Some(thread) = thread {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the ledger's writer thread has panicked");
            }
        }
    }

    async fn send(&self, message: Message) -> Result<()> {
        self.queue.send(message).await.map_err(|_| LedgerError::Closed)
    }
}

/// The thread's life: until [`Message::Close`], or until no sender is left.
fn serve(
    mut connection: Connection,
    checkpointer: Checkpointer,
    mut queue: mpsc::Receiver<Message>,
    counters: &Counters,
) {
    let mut messages = Vec::with_capacity(GROUP);
    let (mut usual, mut delay) = (1, Duration::ZERO);
    let mut empty_at = None;
    while queue.blocking_recv_many(&mut messages, GROUP) > 0 {
        gather(&mut queue, &mut messages, usual, delay.min(MAX_DELAY));
        usual = usize::midpoint(usual, messages.len());
        let mut group = Vec::with_capacity(messages.len());
        let mut checkpoints = Vec::new();
        let mut closing = false;
        for message in messages.drain(..) {
            match message {
                Message::Write(request) => group.push(request),
                Message::Checkpoint(reply) => checkpoints.push(reply),
                Message::Close => closing = true,
            }
        }
        let start = Instant::now();
        commit(&mut connection, group, counters);
        delay = start.elapsed();
        checkpointer.after_commit(&connection);
        if !checkpoints.is_empty() || empty_at.is_some_and(|at| Instant::now() >= at) {
            let emptied = checkpointer.empty(&connection);
            empty_at = matches!(emptied, Ok(false)).then(|| Instant::now() + EMPTY_AGAIN_AFTER);
            for reply in checkpoints {
                let _ = reply.send(emptied.clone().map(drop));
            }
        }
        if closing {
            queue.close();
        }
    }
    // While another process reads, closing alone would leave the log as it is.
    let emptied = checkpointer.empty(&connection);
    checkpointer.stop();
    let closed = emptied.and_then(|_| Ok(connection.close().map_err(|(_, cause)| cause)?));
    if let Err(cause) = closed {
        tracing::error!(%cause, "the ledger could not be closed cleanly");
    }
}

/// Waits until there are as many messages as `usual`, for `delay` at most.
fn gather(queue: &mut mpsc::Receiver<Message>, messages: &mut Vec<Message>, usual: usize, delay: Duration) {
    let start = Instant::now();
    while messages.len() < usual && start.elapsed() < delay {
        std::thread::sleep(POLL_INTERVAL);
        while messages.len() < GROUP
            && let Ok(message) = queue.try_recv()
        {
            messages.push(message);
        }
    }
}

/// One transaction for the whole group, then the answers.
fn commit(connection: &mut Connection, mut group: Vec<Box<dyn Request>>, counters: &Counters) {
    if group.is_empty() {
        return;
    }
    let start = Instant::now();
    let committed = run_group(connection, &mut group);
    counters.commit_seconds.observe(seconds(start.elapsed()));
    counters.commit_requests.observe(group.len() as f64);
    if let Err(cause) = committed {
        counters.commits_failed.inc();
        tracing::error!(%cause, requests = group.len(), "the ledger could not commit");
        for request in &mut group {
            request.fail(&cause);
        }
    }
    for request in group {
        request.answer();
    }
}

fn run_group(connection: &mut Connection, group: &mut [Box<dyn Request>]) -> Result<()> {
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    for request in group {
        transaction.prepare_cached("SAVEPOINT request")?.execute([])?;
        match run_caught(request.as_mut(), &transaction) {
            Ok(()) => {
                transaction.prepare_cached("RELEASE request")?.execute([])?;
            }
            // SQLite has rolled back the whole transaction by itself: disk full, I/O error.
            Err(cause) if transaction.is_autocommit() => return Err(cause),
            Err(_) => transaction.execute_batch("ROLLBACK TO request; RELEASE request")?,
        }
    }
    Ok(transaction.commit()?)
}

/// A panic is an error of this request alone: its savepoint is undone as a whole, and nothing
/// else is shared with the others.
fn run_caught(request: &mut dyn Request, connection: &Connection) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| request.run(connection))).unwrap_or_else(|_| {
        request.fail(&LedgerError::Panicked);
        Err(LedgerError::Panicked)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn writer() -> Arc<Writer> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT").unwrap();
        let checkpointer = Checkpointer::start(Connection::open_in_memory().unwrap());
        Arc::new(Writer::start(connection, checkpointer, Arc::default()))
    }

    fn insert(n: i64) -> impl FnOnce(&Connection) -> Result<i64> + Send + 'static {
        move |connection| {
            connection.execute("INSERT INTO t VALUES (?1)", [n])?;
            Ok(n)
        }
    }

    async fn rows(writer: &Writer) -> Vec<i64> {
        let all = |connection: &Connection| {
            let mut statement = connection.prepare("SELECT n FROM t ORDER BY n")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        writer.run(all).await.unwrap()
    }

    /// Keeps the thread busy, in a group that has begun, until the other end is dropped: what is sent
    /// meanwhile is one group.
    async fn hold(
        writer: &Arc<Writer>,
    ) -> (tokio::task::JoinHandle<Result<()>>, std::sync::mpsc::Sender<()>) {
        let (begins, begun) = oneshot::channel();
        let (go, wait) = channel();
        let writer = writer.clone();
        let held = tokio::spawn(async move {
            let work = move |_: &Connection| {
                let _ = begins.send(());
                let _ = wait.recv();
                Ok(())
            };
            writer.run(work).await
        });
        begun.await.unwrap();
        (held, go)
    }

    #[tokio::test]
    async fn a_request_that_fails_takes_its_own_changes_back_and_none_of_its_neighbours() {
        let writer = writer();
        let (held, go) = hold(&writer).await;
        let fails = |connection: &Connection| {
            insert(2)(connection)?;
            insert(1)(connection)
        };
        let release = async { drop(go) };
        let (_, one, two, three, ()) =
            tokio::join!(held, writer.run(insert(1)), writer.run(fails), writer.run(insert(3)), release);
        assert_eq!((one.unwrap(), three.unwrap()), (1, 3));
        assert!(matches!(two, Err(LedgerError::Backend { .. })), "{two:?}");
        assert_eq!(rows(&writer).await, [1, 3]);
    }

    #[tokio::test]
    async fn a_request_that_panics_takes_its_own_changes_back_and_none_of_its_neighbours() {
        let writer = writer();
        let (held, go) = hold(&writer).await;
        let panics = |connection: &Connection| -> Result<i64> {
            insert(2)(connection)?;
            panic!("on purpose")
        };
        let release = async { drop(go) };
        let (_, one, two, three, ()) =
            tokio::join!(held, writer.run(insert(1)), writer.run(panics), writer.run(insert(3)), release);
        assert_eq!((one.unwrap(), three.unwrap()), (1, 3));
        assert!(matches!(two, Err(LedgerError::Panicked)), "{two:?}");
        assert_eq!(rows(&writer).await, [1, 3]);
    }

    #[tokio::test]
    async fn a_group_whose_transaction_is_lost_fails_as_a_whole_and_the_next_one_works() {
        let writer = writer();
        let (held, go) = hold(&writer).await;
        // As SQLite does by itself when the disk is full.
        let loses = |connection: &Connection| Ok(connection.execute_batch("ROLLBACK; ROLLBACK")?);
        let release = async { drop(go) };
        let (_, one, two, three, ()) =
            tokio::join!(held, writer.run(insert(5)), writer.run(loses), writer.run(insert(6)), release);
        assert!(one.is_err() && two.is_err() && three.is_err(), "{one:?} {two:?} {three:?}");
        assert_eq!(writer.run(insert(7)).await.unwrap(), 7);
    }

    /// Not a request of the ledger: nothing catches its panic.
    struct Fatal;

    impl Request for Fatal {
        fn run(&mut self, _: &Connection) -> Result<()> {
            Ok(())
        }

        fn fail(&mut self, _: &LedgerError) {}

        fn answer(self: Box<Self>) {
            panic!("on purpose")
        }
    }

    /// A queue with `count` messages.
    fn queued(count: usize) -> mpsc::Receiver<Message> {
        let (queue, requests) = mpsc::channel(count.max(1));
        (0..count).for_each(|_| drop(queue.try_send(Message::Close)));
        requests
    }

    #[test]
    fn a_group_waits_for_as_many_as_usual_and_takes_all_that_have_come() {
        for (usual, come, taken) in [(1, 5, 1), (2, 0, 1), (2, 5, 6), (9, 3, 4), (2, 2 * GROUP, GROUP)] {
            let mut messages = vec![Message::Close];
            gather(&mut queued(come), &mut messages, usual, MAX_DELAY);
            assert_eq!(messages.len(), taken, "{usual} usual, {come} come");
        }
    }

    #[tokio::test]
    async fn the_end_of_the_thread_is_noticed() {
        let writer = writer();
        assert!(tokio::time::timeout(Duration::ZERO, writer.closed()).await.is_err());
        writer.send(Message::Write(Box::new(Fatal))).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), writer.closed()).await.unwrap();
        assert!(matches!(writer.run(insert(1)).await, Err(LedgerError::Closed)));
    }

    #[tokio::test]
    async fn after_closing_what_was_queued_is_answered_and_the_rest_refused() {
        let writer = writer();
        let (held, go) = hold(&writer).await;
        let release = async { drop(go) };
        let (_, one, (), ()) = tokio::join!(held, writer.run(insert(1)), writer.close(), release);
        assert_eq!(one.unwrap(), 1);
        assert!(matches!(writer.run(insert(2)).await, Err(LedgerError::Closed)));
        assert!(matches!(writer.checkpoint().await, Err(LedgerError::Closed)));
    }
}
