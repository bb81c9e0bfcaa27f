//! Foreign programs. One that is missing is a failure, never a test less.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};
use std::{fs, thread};

/// Runs `program` to its end, with `input` on its standard input.
///
/// # Panics
/// When it is not installed; says how to install it.
#[track_caller]
pub fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &[u8]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("{program} is missing, install it: ./scripts/install-test-deps"),
        _ => panic!("{program} does not run: {error}"),
    });
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    thread::scope(|scope| {
        // It may end without reading all of it.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("a child can be waited for")
    })
}

/// As [`run`], and wants success.
#[track_caller]
pub fn succeed(
    program: &str,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    input: &[u8],
) -> String {
    let output = run(program, arguments, input);
    let said = said(&output);
    assert!(output.status.success(), "{program} ended with {}: {said}", output.status);
    said
}

/// All that it wrote.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// For tests that are `#[ignore = "needs root"]`.
///
/// # Panics
/// Without root's rights: such a test fails, rather than pass without having run.
#[track_caller]
pub fn needs_root() {
    assert!(is_root(), "this test needs root's rights");
}

/// Whether we have root's rights.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t0\t"))
}
