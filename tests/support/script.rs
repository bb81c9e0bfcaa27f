//! A smarthost to the letter: the test writes its answers, octet by octet.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The smarthost; its thread ends with the test program.
pub struct Script {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// Greets each connection with `greeting`, and answers each line, which comes without its end, with what a
    /// copy of `answer` gives for it. Nothing is added to either.
    pub fn start(
        greeting: &'static str,
        answer: impl FnMut(&str) -> String + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let script = Script { address, heard: Arc::clone(&heard) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, heard) = (answer.clone(), Arc::clone(&heard));
                thread::spawn(move || converse(stream, greeting, answer, &heard));
            }
        });
        script
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All lines so far.
    pub fn heard(&self) -> Vec<String> {
        lock(&self.heard).clone()
    }
}

/// Until either side ends it.
fn converse(
    mut stream: TcpStream,
    greeting: &str,
    mut answer: impl FnMut(&str) -> String,
    heard: &Mutex<Vec<String>>,
) -> Option<()> {
    let lines = BufReader::new(stream.try_clone().ok()?).lines();
    stream.write_all(greeting.as_bytes()).ok()?;
    for line in lines {
        let line = line.ok()?;
        lock(heard).push(line.clone());
        stream.write_all(answer(&line).as_bytes()).ok()?;
    }
    Some(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
