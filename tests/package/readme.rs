//! The operator's section of the README, followed to the letter.

use super::debian::boot;

/// The blocks of the section in this language.
fn blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string("README.md").expect("there is a README");
    let (_, section) = readme.split_once("\n## Run it\n").expect("there is such a section");
    let (section, _) = section.split_once("\n## ").expect("another one follows");
    let fence = format!("```{language}\n");
    section
        .split(&fence)
        .skip(1)
        .map(|block| block.split_once("```").expect("a block ends").0.to_owned())
        .collect()
}

#[test]
#[ignore = "needs root"]
fn the_readme_followed_to_the_letter_gives_a_working_mx() {
    let shell = blocks("sh");
    let [lines] = blocks("toml").try_into().expect("there is one configuration");
    let [install, rest @ ..] = shell.as_slice() else { panic!("no commands") };
    // What only this machine needs: a world behind the smarthost that is just a mailbox.
    let script = format!(
        r#"
# There is no DNS here, and it says so.
tempalias() {{ command tempalias "$@" || [ "$1" = check ]; }}
apt() {{ command apt -y "$@"; }}
world
{install}
while read -r key is value; do
    [ "$is" = = ] || continue
    set_key "$key" "$(sed 's/ *#.*//' <<<"$value")"
done <<'END'
{lines}END
{{
{}
}} | tee said
smarthost_is_ready
alias=$(grep -Eo '[0-9a-z]+@example.com' said | tail -n 1)
mail_to "$alias" letter
eventually "the message is there" has_arrived letter
grep -q "^Delivered-To: $alias" /var/mail/you || fail "not by this alias"
page_is_there || fail "no page"
"#,
        rest.join("\n")
    );
    boot("the README", &script, &["0.1.0-1"]);
}

#[test]
fn the_readme_names_the_package_that_is_built() {
    let name = concat!("tempalias_", env!("CARGO_PKG_VERSION"), "-1_amd64.deb");
    assert!(blocks("sh").concat().contains(name), "{name}");
}
