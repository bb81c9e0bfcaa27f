//! `tempalias man`: the manual page, made of the same declarations as the help.

use std::io::{self, Write, stdout};

use clap::{Command, CommandFactory};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{Cli, Failure};

/// Print the manual page tempalias(1), to standard output
#[derive(clap::Args)]
pub(super) struct Man {}

const DESCRIPTION: &str = "Hands out e-mail aliases that stop after so many messages or days, and forwards what \
                           arrives in time to the real mailbox, by way of a smarthost. One program is MX, REST \
                           API and web page; SQLite is inside.";

/// What each exit code means; `docs/commands.md` says the same.
const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "Done. For health: it serves. For check: nothing that must be mended, though there may be advice."),
    (
        "1",
        "Failed: the sentence on standard error says why. For health: it does not serve. For check: \
         something outside the configuration must be mended.",
    ),
    ("2", "The arguments are wrong."),
    ("78", "The configuration is wrong. systemd does not try again, which would not mend it."),
];

const ENVIRONMENT: [(&str, &str); 2] = [
    (
        "TEMPALIAS_KEY, TEMPALIAS_SECTION__KEY",
        "Win over a key of the configuration file, like TEMPALIAS_SMTP__MAX_SIZE=\"10 MiB\".",
    ),
    ("TEMPALIAS_LOG", "How much to log: a level (error, warn, info, debug, trace) or directives of tracing."),
];

const FILES: [(&str, &str); 3] = [
    ("/etc/tempalias/tempalias.toml", "The configuration."),
    (
        "/var/lib/tempalias/tempalias.db",
        "The ledger: aliases, their targets and uses, and every name ever used.",
    ),
    ("/var/lib/tempalias/tempalias.lock", "Held by the server, with its process id."),
];

const SIGNALS: [(&str, &str); 2] = [
    (
        "SIGTERM, SIGINT",
        "Take nothing new, finish what is in flight, close the ledger. A second one ends at once.",
    ),
    ("SIGHUP", "Read again what may have changed."),
];

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let page = page().map_err(Failure::Output)?;
        stdout().write_all(&page).map_err(Failure::Output)
    }
}

/// One page for all subcommands: whoever looks for one need not know where.
fn page() -> io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let page = Page::new(command.clone());
    let mut out = Vec::new();
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    let synopsis = [bold("tempalias"), roman(" "), italic("command"), roman(" [options]")];
    section("SYNOPSIS").text(synopsis).to_writer(&mut out)?;
    section("DESCRIPTION").text([roman(DESCRIPTION)]).to_writer(&mut out)?;
    section("COMMANDS").to_writer(&mut out)?;
    describe_all(&command, &mut out)?;
    for (title, entries) in [
        ("EXIT STATUS", &EXIT_STATUS[..]),
        ("SIGNALS", &SIGNALS),
        ("ENVIRONMENT", &ENVIRONMENT),
        ("FILES", &FILES),
    ] {
        let mut section = section(title);
        for (what, meaning) in entries {
            section.control("TP", []).text([bold(*what)]).text([roman(*meaning)]);
        }
        section.to_writer(&mut out)?;
    }
    let see_also = [bold("tempalias.toml"), roman("(5)")];
    section("SEE ALSO").text(see_also).to_writer(&mut out)?;
    Ok(out)
}

/// Every command that does something, in the order of the help.
fn describe_all(command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        match subcommand.has_subcommands() {
            true => describe_all(subcommand, out)?,
            false => describe(subcommand.clone(), out)?,
        }
    }
    Ok(())
}

/// The pieces that are made for sections of their own, under one heading.
fn describe(command: Command, out: &mut Vec<u8>) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or("tempalias").to_owned();
    let page = Page::new(command.mut_args(|arg| if arg.get_id() == "help" { arg.hide(true) } else { arg }));
    Roff::new().control("SS", [name.as_str()]).to_writer(out)?;
    let mut pieces = Vec::new();
    page.render_synopsis_section(&mut pieces)?;
    Roff::new().control("PP", []).to_writer(&mut pieces)?;
    page.render_description_section(&mut pieces)?;
    page.render_options_section(&mut pieces)?;
    for line in pieces.split_inclusive(|&octet| octet == b'\n').filter(|line| !line.starts_with(b".SH")) {
        out.extend_from_slice(line);
    }
    Ok(())
}

fn section(title: &str) -> Roff {
    let mut section = Roff::new();
    section.control("SH", [title]);
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command_with_its_options() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for heading in ["tempalias serve", "tempalias alias add", "tempalias check"] {
            assert!(page.contains(&format!(".SS \"{heading}\"")), "{heading}: {page}");
        }
        assert!(page.contains("\\-\\-max\\-usage"), "{page}");
        assert!(!page.contains("tempalias\\-serve(1)"), "there are no other pages: {page}");
    }
}
