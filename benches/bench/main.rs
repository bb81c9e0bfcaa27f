//! `./scripts/bench`: this program beside its peers, on one machine, in one run.
//!
//! Every target is a ratio within the run, or a bound on memory and delay; absolute figures of a shared
//! machine mean little. Contestants of a row take turns, so that whatever else the machine does hits
//! all of them; of their rounds the median counts.
//!
//! | file | what is in it |
//! |---|---|
//! | `beside` | another build of the program instead of peers |
//! | `report` | the table, and the lines `bar: NAME VALUE` |
//! | `rows` | what is measured, against whom, and the targets |
//! | `ledger` | the rows on ten million aliases |
//! | `smtp`, `http` | load |
//! | `appliance`, `peers`, `sink` | those who bear it |

#![expect(clippy::print_stdout, reason = "a bench reports to the terminal")]

mod appliance;
mod beside;
mod http;
mod ledger;
mod peers;
mod report;
mod rows;
mod sink;
mod smtp;

use std::env;
use std::path::PathBuf;

/// Where everything that is measured keeps its files: on a disk, because durability is part of it.
fn directory() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    std::path::absolute(target.join("bench")).expect("there is a working directory")
}

fn main() {
    // cargo adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [sink, port] = arguments.as_slice()
        && sink == "--sink"
    {
        return sink::run(port.parse().expect("the port is a number"));
    }
    let (beside, arguments) = match arguments.as_slice() {
        [option, program, rows @ ..] if option == "--beside" => (Some(PathBuf::from(program)), rows),
        rows => (None, rows),
    };
    let wanted = |row: &str| arguments.is_empty() || arguments.iter().any(|name| row.starts_with(name));
    let directory = directory();
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("the directory for the bench can be made");
    if let Some(other) = beside {
        beside::run(&other, wanted);
    } else {
        let mut report = report::Report::default();
        for (name, row) in rows::ALL {
            if wanted(name) {
                println!("{name} …");
                row(&mut report);
            }
        }
        println!("\n{report}");
    }
    let _ = std::fs::remove_dir_all(&directory);
}
